"""What is only assumed about HighwayAPI."""

from pixverse_dagster.providers.questions import OpenQuestion

QUESTIONS = (
    OpenQuestion(
        "Which answers a wrong key and an unknown task get",
        "HTTP 401 or 403 with a reason that names the key; HTTP 404 or a text that says that the task is not there",
        "`check --live` asks once with the key and once without one, about a task that does not exist",
    ),
    OpenQuestion(
        "What a clip costs: the unit of the price lookup, and product ids of v6 and C1",
        "the price of a call in US dollars, for v4.5 only; no price is known for v6 and C1",
        "the answer of the lookup, and the balance in the console before and after the first clip",
        "first clip",
    ),
    OpenQuestion(
        "Every status word of a task, and how seed and lifetime of a link are written",
        "QUEUED, PROCESSING, SUCCEED, FAILED and their synonyms; a number or text",
        "every distinct answer to a poll of the first clip",
        "first clip",
    ),
    OpenQuestion(
        "How long a result link works, and whether a poll signs it anew",
        "an hour at most, so that the clip is stored at once; one more poll where it has expired",
        "the link's own expiry, and a poll of the first clip's task after 2 and after 26 hours",
        "first clip",
    ),
    OpenQuestion(
        "How wide and high 540p is",
        "1024x576 at 16:9 for v6; not known for v4.5 and C1",
        "what the check of the first clip says of its size",
        "first clip",
    ),
    OpenQuestion(
        "Which values of thinking_type v6 takes",
        "enabled, disabled and auto; left out unless a row sets it",
        "a row with `thinking_type`, and its answer",
        "further clip",
    ),
    OpenQuestion(
        "Whether a refused body and a failed or moderated task are charged",
        "a refusal is not; a failed or moderated task is, and counts as spent",
        "the balance in the console before and after one body with resolution 1p, and after a task that failed",
    ),
)
