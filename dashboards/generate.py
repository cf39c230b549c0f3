#!/usr/bin/env python3
"""Writes the Grafana dashboards beside this file, or into the directory that is named.

    python3 -m pip install --target /tmp/sdk --requirement dashboards/source/requirements.txt
    PYTHONPATH=/tmp/sdk python3 dashboards/generate.py

The pages are in `source/`, built with Grafana's foundation SDK: a member that Grafana does not know cannot be written.
Tests hold that the JSON is what this writes, that every metric and label in it exists, and that every panel shows
something.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "source"))
sys.dont_write_bytecode = True

import audit  # noqa: E402  (found through the line above)
import authorizers  # noqa: E402
import decisions  # noqa: E402
from house import written  # noqa: E402

PAGES = {"decisions.json": decisions.page, "authorizers.json": authorizers.page, "audit.json": audit.page}

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, page in PAGES.items():
        (folder / name).write_text(written(page()), encoding="utf-8")
