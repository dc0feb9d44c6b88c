"""The web on an agent's behalf: fetching pages, turning them into lines, asking a search engine.

    fetched = await fetch("https://example.org", access, limits)
    page = await read_page(fetched, limits)
    results = await search(engine, "loss masking", top_k=10)

It runs in the core, outside of every sandbox, so `addresses.py` decides before each connection
where it may lead: never into the machine's own networks. What fails raises WebError, one line that
an agent can read.
"""
