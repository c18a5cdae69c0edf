"""What the endpoints of one server told together in one tick."""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.cost.deltas import Moved
from exporter.cost.postings import OTHER
from exporter.cost.split import ModelTick, PhaseSeconds
from exporter.cost.state import ServerState
from exporter.readings import Kind, LoadReading, ServerReading


@dataclass(frozen=True, slots=True)
class Told:
    """What the endpoints of one server told together, under admitted model names."""

    models: tuple[str, ...]
    served: tuple[str, ...]
    moved: Moved
    requests: Mapping[str, PhaseSeconds]
    engine: Mapping[str, PhaseSeconds]
    running: Mapping[str, float]
    batches: Mapping[str, int]
    loads: tuple[LoadReading, ...]

    @classmethod
    def of(cls, server: ServerState, readings: list[ServerReading], moves: list[Moved], room: int) -> "Told":
        """Add up what endpoints read and moved. `room` is how many more models have a place."""
        names: dict[str, str] = {model: model for model in server.models}

        def admit(model: str) -> str:
            nonlocal room
            if model not in names:
                names[model] = model if room > 0 else OTHER
                room -= 1
            return names[model]

        served = dict.fromkeys(admit(model) for reading in readings for model in reading.models)
        summed: Moved = {}
        requests: dict[str, PhaseSeconds] = {}
        engine: dict[str, PhaseSeconds] = {}
        for moved in moves:
            for (model, quantity), value in moved.items():
                counted = admit(model), quantity
                summed[counted] = summed.get(counted, 0.0) + value
                # The prefill seconds of one endpoint are of the kind of the decode seconds beside them.
                if quantity in {"decode_seconds", "decode_request_seconds"}:
                    told = PhaseSeconds(moved.get((model, "prefill_seconds"), 0.0), value)
                    seconds = engine if quantity == "decode_seconds" else requests
                    seconds[counted[0]] = seconds.get(counted[0], PhaseSeconds()) + told
        running: dict[str, float] = {}
        batches: dict[str, int] = {}
        waiting: dict[str, float] = {}
        for load in (load for reading in readings for load in reading.loads):
            model = admit(load.model)
            if load.running is not None:
                running[model] = running.get(model, 0.0) + load.running
                batches[model] = batches.get(model, 0) + (load.batches if load.running > 0 else 0)
            if load.waiting is not None:
                waiting[model] = waiting.get(model, 0.0) + load.waiting
        models = dict.fromkeys([*server.models, *names.values()])
        loads = tuple(
            LoadReading(model, running.get(model), waiting.get(model))
            for model in dict.fromkeys([*running, *waiting])
        )
        return cls(tuple(models), tuple(served), summed, requests, engine, running, batches, loads)

    def tick(self, model: str, tokens: Mapping[Kind, int]) -> ModelTick:
        """What one model did."""
        return ModelTick(
            tokens,
            self.requests.get(model),
            self.running.get(model),
            self.batches.get(model, 0),
            self.engine.get(model),
        )
