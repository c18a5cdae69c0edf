"""Rules of a mapping: which of its keys are given together, and which exclude each other."""

from exporter.config.schema import Block, Key, Rule, missing


def exactly_one(*keys: Key[object]) -> Rule:
    """A rule: one of the keys must be given, and only one."""

    def rule(block: Block) -> bool:
        given = [key for key in keys if key in block]
        if len(given) == 1:
            return True
        names = ", ".join(key.name for key in keys)
        if given:
            for key in given[1:]:
                block.refuse(key, f"cannot stand beside {given[0].name}; keep exactly one of {names}")
        elif block.meant.isdisjoint(key.name for key in keys):
            block.refuse(None, f"says none of {names}; give exactly one")
        return False

    return rule


def together(key: Key[object], needed: Key[object], other: Key[object]) -> Rule:
    """A rule: two keys are given both or neither. Where `other` stands beside `key`, that is the problem."""

    def rule(block: Block) -> bool:
        if (key in block) == (needed in block) or (key in block and other in block):
            return True
        if needed.name in block.meant or key.name in block.meant:
            return False
        if key in block:
            block.refuse(None, missing(needed))
        else:
            block.refuse(needed, f"goes with {key.name} only; remove it")
        return False

    return rule
