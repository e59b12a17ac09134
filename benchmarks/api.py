"""The two PixVerse APIs that make clips from text alone, in few lines: for the contenders that are not this project."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = Any  # whatever a provider answers


@dataclass(frozen=True)
class Call:
    """One POST."""

    url: str
    headers: dict[str, str]
    json: Json


class Runware:
    """`runware/pixverse-v4.5`. The caller chooses the task's id; one poll asks about up to 50 tasks."""

    POLL_BATCH = 50

    def __init__(self, address: str) -> None:
        self._url, self._headers = f"{address}/runware/v1", {"Authorization": "Bearer simulator"}

    def submit(self, prompt: str) -> Call:
        task = {
            "taskType": "videoInference",
            "taskUUID": str(uuid.uuid4()),
            "model": "pixverse:1@3",
            "positivePrompt": prompt,
            "width": 640,
            "height": 360,
            "duration": 5,
            "deliveryMethod": "async",
        }
        return Call(self._url, self._headers, [task])

    def task_id(self, answer: Json) -> str:
        return answer["data"][0]["taskUUID"]

    def poll(self, task_ids: Sequence[str]) -> Call:
        return Call(self._url, self._headers, [{"taskType": "getResponse", "taskUUID": one} for one in task_ids])

    def finished(self, answer: Json, task_ids: Sequence[str]) -> dict[str, str]:
        """The URLs of the finished ones, by task id. Raises RuntimeError if one has failed."""
        del task_ids
        if answer.get("errors"):
            raise RuntimeError(f"Runware answered {answer['errors']}")
        return {row["taskUUID"]: row["videoURL"] for row in answer["data"] if row["status"] == "success"}


class Pixwith:
    """`pixwith/pixverse-v5`. One poll asks about one task."""

    POLL_BATCH = 1

    def __init__(self, address: str) -> None:
        self._url, self._headers = f"{address}/pixwith/api/task", {"Api-Key": "simulator"}

    def submit(self, prompt: str) -> Call:
        options = {"resolution": "360p", "duration": 5, "aspect_ratio": "16:9", "num_outputs": 1}
        body = {"model_id": "2-27", "prompt": prompt, "options": options | {"prompt_optimization": False}}
        return Call(f"{self._url}/create", self._headers, body)

    def task_id(self, answer: Json) -> str:
        return answer["data"]["task_id"]

    def poll(self, task_ids: Sequence[str]) -> Call:
        return Call(f"{self._url}/get", self._headers, {"task_id": task_ids[0]})

    def finished(self, answer: Json, task_ids: Sequence[str]) -> dict[str, str]:
        """The URL of the task by its id, if it has finished. Raises RuntimeError if it has failed."""
        data = answer["data"]
        if data["status"] == 3:
            raise RuntimeError(f"Pixwith answered {answer}")
        return {task_ids[0]: data["result_urls"][0]} if data["status"] == 2 else {}


APIS: dict[str, type[Runware | Pixwith]] = {"runware/pixverse-v4.5": Runware, "pixwith/pixverse-v5": Pixwith}
