#!/usr/bin/env python3
"""Writes one file for each seed of the fuzz targets: seeds.py TESTDATA OUT

Dockerfiles and ignore files of the test data as they stand; words, references and JSON forms from the lines of them.
"""

import hashlib
import pathlib
import re
import sys

SECTION = re.compile(r"^=== (.*)$", re.M)


def sections(text):
    """The (heading, body) pairs of a case file."""
    parts = SECTION.split(text)
    return zip(parts[1::2], (body.lstrip("\n") for body in parts[2::2]))


def dockerfiles(testdata):
    for path in sorted(testdata.glob("dockerfiles/*/Dockerfile")):
        yield path.read_text(encoding="utf-8", errors="replace")
    for path in sorted(testdata.glob("cases/*/*.case")):
        for heading, body in sections(path.read_text(encoding="utf-8")):
            if heading == "Dockerfile" or (heading.startswith("file ") and "FROM " in body):
                yield body


def ignore_files(testdata):
    for path in sorted(testdata.glob("cases/*/*.case")):
        for heading, body in sections(path.read_text(encoding="utf-8")):
            if heading.startswith("file ") and ".dockerignore" in heading:
                yield body


def main():
    testdata, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    seeds = {name: set() for name in ("dockerfile", "words", "json", "ignore", "references")}
    for text in dockerfiles(testdata):
        seeds["dockerfile"].add(text)
        for line in text.splitlines():
            seeds["words"].update(word for word in line.split() if re.search(r"""[$'"\\]""", word))
            seeds["json"].update(found[1:-1] for found in re.findall(r"\[.*\]", line))
            words = line.split()
            if len(words) > 1 and words[0].upper() == "FROM":
                seeds["references"].add(words[1])
    seeds["ignore"].update(ignore_files(testdata))
    for name, texts in seeds.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        for text in texts:
            data = text.encode()
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


main()
