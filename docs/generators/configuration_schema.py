"""The JSON schema of the configuration, for editors: made from the same keys as the reference.

It has the keys, kinds of values, words and bounds. Rules over several keys are `check-config`'s.
"""

import json
from typing import Any, Final

from exporter.config.engines import LABEL_VALUES
from exporter.config.gateways import UNIT_OF_DIVISION
from exporter.config.keys import DOCUMENT
from exporter.config.schema import ListOf, MappingOf, Table
from exporter.config.servers import GPUS
from exporter.config.values import TRUTH, Choice, Duration, Number, Validator, Whole

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
TEXT: Final = {"type": ["string", "number", "boolean"]}
"""A text without quotes may be a number or a boolean to an editor."""


ONE_OR_MORE: Final = (GPUS, LABEL_VALUES, UNIT_OF_DIVISION)
"""Values that are a text or a list of texts."""


def documentation() -> str:
    """The schema as JSON."""
    document = {"$schema": DIALECT, "title": "Inference Cost Exporter: configuration"} | _form(DOCUMENT)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _form(validator: Validator[Any]) -> dict[str, Any]:
    """The JSON schema of a kind of value."""
    match validator:
        case Table(keys=keys):
            properties = {key.name: _form(key.validator) | {"description": key.help} for key in keys}
            required = [key.name for key in keys if key.required]
            return {
                "type": "object",
                "properties": properties,
                "additionalProperties": False,
            } | ({"required": required} if required else {})
        case MappingOf():
            values = _form(validator.validator)
            return {"type": "object", "additionalProperties": values, "maxProperties": validator.most}
        case ListOf():
            return {"type": "array", "items": _form(validator.validator), "minItems": validator.least}
        case Number():
            least = "exclusiveMinimum" if validator.above_low else "minimum"
            return {"type": "number", least: float(validator.low), "maximum": float(validator.high)}
        case Whole():
            return {"type": "integer", "minimum": validator.low, "maximum": validator.high}
        case Choice():
            # YAML 1.1 reads a plain `off` as false.
            words = [*validator.options, *([False] if "off" in validator.options else [])]
            return {"enum": words}
        case Duration():
            return {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"}
    if validator is TRUTH:
        return {"type": "boolean"}
    if validator in ONE_OR_MORE:
        return {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
    return TEXT
