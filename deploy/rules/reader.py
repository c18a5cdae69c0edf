"""Rules from their text: a head line for each group and rule, its reasons after `#`, its expression, an alert's sentences.

    rules NAME every INTERVAL[: TITLE]
    record NAME (LABELS): MEANING
    alert NAME SEVERITY after WAIT [keep TIME] by (LABELS): DASHBOARD

The labels of an alert identify it: they say whose it is, and which series has its beginning.
"""

import re
from typing import Final

from statement import Alert, Group, Record
from wording import owner_labels, since

HEAD: Final = re.compile(r"^(?=(?:rules|record|alert) )", re.MULTILINE)
GROUP: Final = re.compile(r"rules (\S+) every (\w+)(?:: (.+))?")
RECORD: Final = re.compile(r"record (\S+) \((.*?)\): (.*)")
ALERT: Final = re.compile(r"alert (\w+) (page|ticket) after (\w+)(?: keep (\w+))? by \((.*?)\): (.*)")
SENTENCE: Final = re.compile(r"^(cause|summary|description|since|servers|waiting): ", re.MULTILINE)


def groups(text: str) -> tuple[Group, ...]:
    """The groups of a text, in its order.

    Raises:
        ValueError: a head line that is none of the three.
    """
    read: list[tuple[re.Match[str], str, list[Record | Alert]]] = []
    for block in HEAD.split(text)[1:]:
        head, _, rest = block.partition("\n")
        reasons = re.match(r"(?:#.*\n)*", rest)[0]
        why, body = re.sub("^# ?", "", reasons, flags=re.MULTILINE), rest[len(reasons) :]
        if group := GROUP.fullmatch(head):
            read.append((group, why, []))
        elif found := RECORD.fullmatch(head):
            name, labels, meaning = found.groups()
            read[-1][2].append(Record(name, body, why, meaning, tuple(filter(None, labels.split(", ")))))
        elif found := ALERT.fullmatch(head):
            read[-1][2].append(alert(found, why, body))
        else:
            raise ValueError(f"deploy/rules: no head of a group, a record or an alert: {head}")
    return tuple(Group(head[1], head[2], tuple(rules), why, head[3] or "") for head, why, rules in read)


def alert(head: re.Match[str], why: str, body: str) -> Alert:
    """An alert with what all of them carry: severity, owner, since when, and links."""
    name, severity, wait, keep, labels, dashboard = head.groups(default="")
    by = tuple(filter(None, labels.split(", ")))
    expr, *sentences = SENTENCE.split(body)
    said = {key: text.strip("\n") for key, text in zip(sentences[::2], sentences[1::2], strict=True)}
    cause = {"cause": said["cause"]} if "cause" in said else {}
    return Alert(
        name,
        expr,
        wait,
        {"severity": severity, **owner_labels(by), **cause},
        {
            "summary": said["summary"],
            "description": said["description"],
            "since": said.get("since") or since(name, severity, by),
            "servers": said["servers"],
            "waiting": said["waiting"],
            "dashboard": dashboard,
            "runbook": f"docs/runbooks/{name}.md",
        },
        keep,
        why,
    )
