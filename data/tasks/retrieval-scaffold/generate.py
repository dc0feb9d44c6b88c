"""Makes this task's corpus and queries, the same on every machine: python3 generate.py

The handbook of a workshop: twelve machines, eight pages each. People ask for a page in their own
words: nicknames of the machine, everyday words for the subject, typing mistakes.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent

MACHINES = {
    "Corvus C20": {
        "type": "centrifuge",
        "nicknames": "spinner|whirler",
        "part": "rotor",
        "surface": "rotor chamber",
        "agent": "70 % ethanol",
        "code": "E12",
        "fault": "the tubes are out of balance; stop it and weigh them in pairs",
        "danger": "never open the lid before the rotor stands still",
        "gear": "gloves and glasses",
        "supply": "15 ml tubes with flat caps",
        "standard": "an optical tachometer",
        "wear": "the lid seal",
        "room": "B 104",
        "person": "Ines Falk",
        "warm": "two minutes",
    },
    "Steam 80": {
        "type": "autoclave",
        "nicknames": "pressure cooker|sterilizer",
        "part": "chamber",
        "surface": "door gasket and drain sieve",
        "agent": "mild soap",
        "code": "P3",
        "fault": "the pressure did not build up; look for a glove caught in the door",
        "danger": "steam comes out when the door opens; stand aside",
        "gear": "heat-proof mitts and a face shield",
        "supply": "indicator tape and bags",
        "standard": "a spore strip",
        "wear": "the safety valve",
        "room": "B 110",
        "person": "Tomas Reyl",
        "warm": "twenty minutes",
    },
    "Boreas F8": {
        "type": "freezer",
        "nicknames": "deep freeze|icebox",
        "part": "compressor",
        "surface": "shelves and the frosted door frame",
        "agent": "a plastic scraper and dry cloths",
        "code": "HI-T",
        "fault": "the temperature rose above -65; move the samples to the spare one",
        "danger": "metal at -80 burns the skin at once",
        "gear": "cold-proof gauntlets",
        "supply": "cardboard boxes with grids",
        "standard": "a certified probe",
        "wear": "the dust filter",
        "room": "cellar 2",
        "person": "Ines Falk",
        "warm": "six hours",
    },
    "Lumen S4": {
        "type": "spectrometer",
        "nicknames": "colour meter|photometer",
        "part": "lamp",
        "surface": "cuvette holder",
        "agent": "lens tissue and distilled water",
        "code": "L7",
        "fault": "the lamp is too weak; replace it when the counter passes 900 hours",
        "danger": "do not look into the ultraviolet beam",
        "gear": "ultraviolet glasses",
        "supply": "quartz cuvettes",
        "standard": "a holmium oxide glass",
        "wear": "the deuterium lamp",
        "room": "C 201",
        "person": "Ola Brandt",
        "warm": "half an hour",
    },
    "Argus M3": {
        "type": "microscope",
        "nicknames": "scope|magnifier",
        "part": "stage",
        "surface": "objectives",
        "agent": "lens paper with a drop of ether",
        "code": "Z-LIM",
        "fault": "the focus drive is at its end; lower the stage by hand",
        "danger": "the mercury burner must cool down before the housing is opened",
        "gear": "nothing but clean hands",
        "supply": "slides and immersion oil",
        "standard": "a stage micrometer",
        "wear": "the burner",
        "room": "C 204",
        "person": "Ola Brandt",
        "warm": "ten minutes",
    },
    "Thermos I6": {
        "type": "incubator",
        "nicknames": "warm box|breeder",
        "part": "fan",
        "surface": "water tray",
        "agent": "hydrogen peroxide",
        "code": "CO2-LO",
        "fault": "the gas bottle is empty; change it at the wall",
        "danger": "carbon dioxide collects near the floor; leave the window open",
        "gear": "a gas detector on the collar",
        "supply": "carbon dioxide bottles and trays",
        "standard": "a reference thermometer in a water bottle",
        "wear": "the door heating",
        "room": "B 112",
        "person": "Tomas Reyl",
        "warm": "four hours",
    },
    "Zephyr H2": {
        "type": "fume hood",
        "nicknames": "extractor|draught cupboard",
        "part": "sash",
        "surface": "baffle and work top",
        "agent": "soda solution",
        "code": "FLOW",
        "fault": "the air is too slow; lower the sash and leave the room",
        "danger": "never put your head under the sash",
        "gear": "a lab coat and acid-proof sleeves",
        "supply": "spill pads and pH paper",
        "standard": "an anemometer",
        "wear": "the sash cable",
        "room": "B 106",
        "person": "Ruth Amsel",
        "warm": "five minutes",
    },
    "Dactyl R9": {
        "type": "pipetting robot",
        "nicknames": "liquid handler|dispenser",
        "part": "arm",
        "surface": "deck and tip chute",
        "agent": "bleach diluted ten times",
        "code": "TIP-0",
        "fault": "a tip was not picked up; push the rack down until it clicks",
        "danger": "the arm moves without warning; keep the cover closed",
        "gear": "closed shoes and no loose sleeves",
        "supply": "filter tips and deep well plates",
        "standard": "a balance and dyed water",
        "wear": "the syringe seals",
        "room": "C 210",
        "person": "Jonas Weil",
        "warm": "three minutes",
    },
    "Laminar P5": {
        "type": "printer",
        "nicknames": "plastic machine|extruder",
        "part": "nozzle",
        "surface": "glass bed",
        "agent": "isopropanol",
        "code": "T-RUN",
        "fault": "the heater runs away; pull the plug and call us",
        "danger": "the nozzle has 260 degrees",
        "gear": "cotton gloves",
        "supply": "filament, 1.75 mm",
        "standard": "a printed cube and a caliper",
        "wear": "the drive belt",
        "room": "workshop 1",
        "person": "Mara Quint",
        "warm": "eight minutes",
    },
    "Ember L7": {
        "type": "laser cutter",
        "nicknames": "burner table|engraver",
        "part": "mirror",
        "surface": "honeycomb and lens",
        "agent": "acetone on a swab",
        "code": "INTLK",
        "fault": "the lid switch is open; close it and reset",
        "danger": "never leave it alone while it cuts, acrylic burns",
        "gear": "goggles for 10.6 micrometres",
        "supply": "plywood and acrylic sheets",
        "standard": "a ramp test on scrap wood",
        "wear": "the laser tube",
        "room": "workshop 2",
        "person": "Mara Quint",
        "warm": "one minute",
    },
    "Torrent W1": {
        "type": "water purifier",
        "nicknames": "still|clean tap",
        "part": "cartridge",
        "surface": "storage tank",
        "agent": "citric acid",
        "code": "RES-5",
        "fault": "the conductivity is too high; flush for ten minutes",
        "danger": "the ultraviolet lamp in the loop is on whenever water runs",
        "gear": "glasses while the tank is open",
        "supply": "ion exchange packs",
        "standard": "a conductivity solution",
        "wear": "the membrane",
        "room": "cellar 1",
        "person": "Ruth Amsel",
        "warm": "fifteen minutes",
    },
    "Pondus B4": {
        "type": "balance",
        "nicknames": "scales|weigher",
        "part": "pan",
        "surface": "pan and draught shield",
        "agent": "a soft brush",
        "code": "OL",
        "fault": "the load is above 220 g; take it off at once",
        "danger": "mercury and perchlorates must not be weighed here",
        "gear": "forceps instead of fingers",
        "supply": "weighing boats",
        "standard": "the class E2 weights in the drawer",
        "wear": "the levelling feet",
        "room": "C 202",
        "person": "Jonas Weil",
        "warm": "one hour",
    },
}

SUBJECTS = {
    "Booking": "The {name} is booked in the calendar, in blocks of two hours, three days ahead at most. "
    "Whoever does not come within a quarter of an hour loses the block. Ask {person} for rights; "
    "the {part} is in {room}. An introduction is required before the first booking.",
    "Start": "Check the log book of the {name} in {room}. Press the green key and wait {warm} until the "
    "display is steady. Then look at the {part}, and confirm the prompt. If a code is shown, see the "
    "page on error codes. Do not calibrate before it is ready.",
    "Shutdown": "Let the {name} come to rest, take out what is yours and note the time in the log book. "
    "Hold the green key for three seconds. The {part} must be free. On Fridays the main "
    "switch in {room} goes off as well. Cleaning has its own page.",
    "Cleaning": "The {surface} of the {name} is cleaned with {agent} by everyone who used it. After "
    "something ran out, leave it for ten minutes and repeat. Never pour liquid over the {part}. "
    "Used cloths go into the yellow bin.",
    "Calibration": "The {name} is calibrated with {standard} on the first Monday of a month. Write the "
    "deviation into the sheet; above one per cent call {person}. The {part} must be at rest, and "
    "the room closed. Start it long before.",
    "Error codes": "{code} on the {name}: {fault}. Other codes: E01 no network, E02 clock not set, E99 "
    "restart it once. If a code comes twice in a day write to {person} and hang the red "
    "card on the {part}.",
    "Safety": "With the {name}, {danger}. Wear {gear}. The nearest shower and the first-aid box are "
    "beside the door of {room}. After an accident press the red knob; call 112; then {person}. "
    "No booking excuses work alone at night.",
    "Supplies": "For the {name} we keep {supply} in the store; take what you need and sign the list. When "
    "the second last packet is opened, {person} orders more. {wear} is kept as a spare "
    "part, and is fitted only by the technician.",
}

# What people say for a subject: in the development queries; only in the hidden queries.
SAID = {
    "Booking": (
        "how do I book the {m}|reserve the {m} for tomorrow|free slot on the {m}",
        "reserving a {m} slot|who may sign up for the {m}|is the {m} booked on Thursday",
    ),
    "Start": (
        "how do I switch on the {m}|turning on the {m}|starting the {m} in the morning",
        "the {m} needs how long to warm up|how is the {m} powered up|switching the {m} on",
    ),
    "Shutdown": (
        "switching off the {m}|turn off the {m} in the evening|shut down the {m}",
        "leaving the {m} for the weekend|what to do with the {m} after the last run"
        "|powering off the {m}",
    ),
    "Cleaning": (
        "how do I wipe the {m}|disinfect the {m}|something was spilled in the {m}",
        "the {m} is dirty|washing the {m}|what removes stains from the {m}",
    ),
    "Calibration": (
        "the {m} is not accurate|adjust the {m}|is the {m} calibrated",
        "checking the accuracy of the {m}|the {m} deviates|adjusting the {m}",
    ),
    "Error codes": (
        "the {m} shows {c}|alarm at the {m}, what does it mean|the {m} beeps, fault message",
        "{c} at the {m}|alarms from the {m}|meaning of a warning light on the {m}",
    ),
    "Safety": (
        "is the {m} dangerous|what do I wear at the {m}|somebody was hurt at the {m}",
        "dangers of the {m}|protective clothing for the {m}|injury with the {m}, what now",
    ),
    "Supplies": (
        "where is material for the {m}|consumables of the {m} are used up|order more for the {m}",
        "ordering consumables for the {m}|refill for the {m}|the {m} has run out of stock",
    ),
}


def documents():
    found = []
    for name, facts in MACHINES.items():
        for subject, text in SUBJECTS.items():
            body = text.format(name=name, **facts)
            found.append((name, subject, body[0].upper() + body[1:]))
    return found


def called(rng, name):
    facts = MACHINES[name]
    nicknames = facts["nicknames"].split("|")
    return rng.choice([name, name.split()[0], facts["type"], facts["type"], *nicknames, *nicknames])


def mistyped(rng, text):
    """Two neighbouring letters of a long word swapped."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    if long:
        i = rng.choice(long)
        at = rng.randrange(1, len(words[i]) - 2)
        word = words[i]
        words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def query(rng, name, subject, hidden):
    phrases = "|".join(SAID[subject]) if hidden else SAID[subject][0]
    text = rng.choice(phrases.split("|"))
    text = text.format(m=called(rng, name), c=MACHINES[name]["code"])
    return (mistyped(rng, text) if rng.random() < 0.2 else text).lower()


def write(path, values):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def main():
    rng = random.Random(4242)
    pages = documents()
    rng.shuffle(pages)
    ids = {(name, subject): "d%02d" % n for n, (name, subject, _) in enumerate(pages, 1)}
    write(
        HERE / "workspace/corpus.jsonl",
        [
            {"id": ids[name, subject], "title": "%s: %s" % (name, subject), "text": text}
            for name, subject, text in pages
        ],
    )
    glossary = ["called\tmeans"]
    for name, facts in MACHINES.items():
        glossary += ["%s\t%s" % (word, name) for word in (facts["type"], *facts["nicknames"].split("|"))]
    (HERE / "workspace/glossary.tsv").write_text("\n".join(glossary) + "\n", encoding="utf-8")
    asked = [(name, subject) for name, subject, _ in pages]
    for path, count, hidden in (
        (HERE / "workspace/dev_queries.jsonl", 32, False),
        (HERE / "evaluation/queries.jsonl", 120, True),
    ):
        seen = {}
        while len(seen) < count:
            name, subject = rng.choice(asked)
            seen.setdefault(query(rng, name, subject, hidden), ids[name, subject])
        write(path, [{"id": "q%03d" % n, "text": t, "page": p} for n, (t, p) in enumerate(seen.items(), 1)])


if __name__ == "__main__":
    main()
