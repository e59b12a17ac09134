"""What is only assumed about Pixwith."""

from pixverse_dagster.providers.questions import OpenQuestion

QUESTIONS = (
    OpenQuestion(
        "Which HTTP status and code go with a wrong key and an unknown task",
        "HTTP 200 with code 2, or code 0 and a text about the key; code 0 and a text that says not found",
        "`check --live` asks for the credits with the key and without one, and about a task that does not exist",
    ),
    OpenQuestion(
        "How many credits a clip costs, and what a credit is worth",
        "not known: give the price in `prices`, per output",
        "the credits before and after the first clip: `costs --balance` shows them",
        "first clip",
    ),
    OpenQuestion(
        "Every status number of a task, and which fields a finished one has",
        "1 processing, 2 completed, 3 failed; anything else is polled on until the deadline",
        "every distinct answer to a poll of the first clip",
        "first clip",
    ),
    OpenQuestion(
        "How long a result link works",
        "not long: the clip is stored at once",
        "the link's answer after 2 and after 26 hours",
        "first clip",
    ),
    OpenQuestion(
        "What several outputs cost, and whether fewer may come",
        "so many times the price of one; as many as there are",
        "one row with two outputs, and the credits before and after it",
        "further clip",
    ),
    OpenQuestion(
        "Whether a refused body and a failed task are charged",
        "a refusal is not; a failed task is, and counts as spent",
        "the credits before and after a body with duration 6, and after a task that failed",
    ),
)
