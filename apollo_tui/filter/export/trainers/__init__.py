"""Trainers: what each really honours of an export, found by running or reading it.

A trainer is a class in a file of its own. It refuses the formats that it would train wrongly, with the
count; it changes rows into what it reads; and it names the files and the command to train with. The
versions, and which were run, are in docs/training-data.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from apollo_tui.filter.export.trainers.axolotl import Axolotl
from apollo_tui.filter.export.trainers.llamafactory import LlamaFactory
from apollo_tui.filter.export.trainers.ms_swift import MsSwift
from apollo_tui.filter.export.trainers.openai import OpenAI
from apollo_tui.filter.export.trainers.slime import Slime
from apollo_tui.filter.export.trainers.trainer import Trainer
from apollo_tui.filter.export.trainers.trl import Trl
from apollo_tui.filter.export.trainers.verl import Verl

TRAINERS: Mapping[str, Trainer] = {
    trainer.name: trainer
    for trainer in (Trl(), Axolotl(), MsSwift(), LlamaFactory(), Slime(), Verl(), OpenAI())
}
"""Every trainer by its name."""
