"""What is only assumed about Runware."""

from pixverse_dagster.providers.questions import OpenQuestion

QUESTIONS = (
    OpenQuestion(
        "What accountManagement answers, and with which units",
        "a row with a number `balance`, in US dollars",
        "`check --live` asks for it",
    ),
    OpenQuestion(
        "What getResponse answers for a UUID that was never sent",
        "no row, or one that says processing: neither shows that a submit was accepted",
        "`check --live` asks about a new UUID",
    ),
    OpenQuestion(
        "What is charged for sizes other than 1080p, and how `cost` is split over several outputs",
        "PixVerse's own ratios of credits; the cost of one output in each of its rows",
        "the `cost` of the first clip; one row with two outputs",
        "first clip",
    ),
    OpenQuestion(
        "What a repeated submit with the same UUID is answered, under way and an hour after its end",
        "HTTP 400 conflictTaskUUID, without a second charge",
        "the answer to a replay, and the balance before and after it",
        "first clip",
    ),
    OpenQuestion(
        "How long getResponse knows a finished task, and how long its link works",
        "not long: the clip is stored at once, and the task polled until then",
        "a poll of the first clip's task after 2 and after 26 hours, and the link's answer then",
        "first clip",
    ),
    OpenQuestion(
        "Whether several getResponse tasks may be in one POST",
        "up to 50; asked about one by one where the answer cannot be read",
        "the answer to a poll of two tasks at once",
        "further clip",
    ),
    OpenQuestion(
        "Whether a failed or moderated task is charged",
        "it is, and counts as spent",
        "the balance before and after a task that failed",
    ),
)
