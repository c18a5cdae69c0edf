"""Names and texts use the field's words, not those that `docs/glossary.csv` and `vocabulary.csv` list."""

import ast
import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS_PER_RARE_ONE = 2000

with (ROOT / "docs" / "glossary.csv").open(encoding="utf-8", newline="") as file:
    REPLACED = {word for row in csv.DictReader(file) for word in row["instead_of"].split()}
with Path(__file__).with_name("vocabulary.csv").open(encoding="utf-8", newline="") as file:
    RULES = list(csv.DictReader(file))
STAYING = {(row["where"], row["word"]) for row in RULES if row["rule"] == "stays"}
VAGUE = {word for row in RULES if row["rule"] == "vague" for word in row["word"].split()}
NEVER = "|".join(row["word"] for row in RULES if row["rule"] == "never")
RARE = f"{NEVER}|{'|'.join(row['word'] for row in RULES if row['rule'] == 'rare')}"


def names(text: str) -> Iterator[str]:
    """All classes, functions, parameters, variables, fields and aliases of a file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def replaced(name: str) -> bool:
    """Whether a name is one of the words, however it is written."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).strip("_").lower() in REPLACED


def test_names_are_the_fields() -> None:
    """In product, tests and benchmarks; those that stay are there. A class of the product has its own."""
    wrong: set[tuple[str, str]] = set()
    classes: Counter[str] = Counter()
    for folder in ("exporter", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
            wrong |= {(name, each) for each in names(text) if replaced(each)}
            wrong |= {(name, path.stem)} if path.stem in VAGUE else set()
            classes.update(re.findall(r"^ *class (\w+)", text, re.MULTILINE) if folder == "exporter" else ())
    assert sorted(wrong ^ STAYING) == []
    assert [name for name, times in classes.items() if times > 1] == []
    seeded = "def f(told): self._told = Told = untold = 1"
    assert sorted(filter(replaced, names(seeded))) == ["Told", "_told", "told"]


def test_texts_are_in_the_fields_words() -> None:
    """Pages, which have all help and log messages, rules, dashboards, and what the web page is made of."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "dashboards").glob("*.json")]
    files += [*(ROOT / "deploy" / "prometheus").glob("*-rules.yml"), *(ROOT / "exporter").rglob("*.html")]
    text = "\n\n".join(f"<!-- {path} -->{path.read_text(encoding='utf-8')}" for path in files)
    prose = re.sub(r"^( *)```.*?^\1```|`[^`\n]*`|^ +#.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    rare = re.findall(rf"\b(?:{RARE})\b", prose, re.IGNORECASE)

    assert re.findall(rf"^.*\b(?:{NEVER})\b.*$", prose, re.IGNORECASE | re.MULTILINE) == []
    assert len(rare) * WORDS_PER_RARE_ONE <= len(prose.split()), Counter(rare)
