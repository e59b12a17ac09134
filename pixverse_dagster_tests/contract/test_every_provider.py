"""Every provider against its API in the simulator: one suite, and a new provider or model is in it by itself."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from io import BytesIO
from threading import Event

import pytest

from pixverse_dagster.core.errors import ReadFailed, Refused, Unauthorized
from pixverse_dagster.core.outcomes import Missing, PollFact, Running, Succeeded
from pixverse_dagster.core.request import Request
from pixverse_dagster.providers import MODELS, PROVIDERS
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness.factories import CELLS, make_row, send_submit
from pixverse_dagster_tests.harness.servers import Simulator

Connect = Callable[..., ProviderClient]
EVERY_MODEL = pytest.mark.parametrize("model", MODELS)
EVERY_PROVIDER = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.NAME)


@pytest.fixture
def connect(server: Simulator) -> Iterator[Connect]:
    """A function that opens an account at the simulator's API of a provider."""
    opened: list[ProviderClient] = []

    def connect(provider: type[Provider], key: str = "simulator") -> ProviderClient:
        sender = HttpSender(Limits(backoff_seconds=0.02))
        opened.append(ProviderClient(provider(key, f"{server.url}/{provider.NAME}"), sender))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


def reference() -> str:
    """A new id of the caller's own."""
    return str(uuid.uuid4())


def cheapest(provider: type[Provider]) -> Request:
    """A request to the provider's first model."""
    return make_row(model=provider.MODELS[0].MODEL).request


def end_of(client: ProviderClient, task: TaskRef) -> PollFact:
    """Poll until the provider says something else than that it is at it."""
    pause = Event()
    for _ in range(400):
        fact = client.poll([task])[task.task_id]
        if not isinstance(fact, Running | Missing):
            return fact
        pause.wait(0.02)
    pytest.fail(f"{task} did not end")


def test_every_model_is_here():
    """A model without its cheapest row in the harness would be in none of these tests."""
    assert set(CELLS) == set(MODELS) == {model.MODEL for provider in PROVIDERS for model in provider.MODELS}


@EVERY_MODEL
def test_a_request_is_accepted_once_generated_and_downloaded(model: str, server: Simulator, connect: Connect):
    """What the product builds is valid to the last field: one charge, an end, and files that are there."""
    request = make_row(model=model).request
    provider = next(one for one in PROVIDERS if request.provider() == one.NAME)
    client, name = connect(provider), reference()
    accepted = send_submit(client, request, request.body(str), name)
    fact = end_of(client, TaskRef(accepted.task_id, request.outputs_asked()))
    assert isinstance(fact, Succeeded), fact
    (charged,) = server.tasks()
    assert (charged["provider"], charged["task_id"]) == (provider.NAME, accepted.task_id)
    assert (accepted.task_id == name) is provider.REPLAYABLE
    assert len(fact.urls) == len(charged["outputs"]) == request.outputs_asked()
    downloader = Downloader(DownloadRules(allow_private_network=True))
    found = {downloader.fetch(url, BytesIO()).sha256 for url in fact.urls}
    downloader.close()
    assert found == {output["sha256"] for output in charged["outputs"]}


@EVERY_PROVIDER
def test_a_wrong_key_is_refused_uncharged_and_says_nothing_of_a_task(
    provider: type[Provider], server: Simulator, connect: Connect
):
    """Submits are unauthorized; a poll is a failed read, never an end or an absence of the task."""
    request, stranger = cheapest(provider), connect(provider, "another key")
    with pytest.raises(Unauthorized):
        send_submit(stranger, request, request.body(str), reference())
    assert server.tasks() == []
    accepted = send_submit(connect(provider), request, request.body(str), reference())
    with pytest.raises(ReadFailed):
        stranger.poll([TaskRef(accepted.task_id)])


@EVERY_PROVIDER
def test_a_task_that_the_provider_does_not_know_is_missing(provider: type[Provider], connect: Connect):
    """And nothing worse: it may be a moment too early."""
    unknown = reference()
    assert connect(provider).poll([TaskRef(unknown)]) == {unknown: Missing()}


@EVERY_PROVIDER
def test_an_invalid_body_is_refused_uncharged(provider: type[Provider], server: Simulator, connect: Connect):
    """A refusal, and not an unknown outcome: the row may be sent again when it is put right."""
    request = cheapest(provider)
    body = request.body(str)
    for wrong in ({**body, "nobody_knows_this": 1}, {}):
        with pytest.raises(Refused) as refused:
            send_submit(connect(provider), request, wrong, reference())
        assert type(refused.value) is Refused
    assert server.tasks() == []


@EVERY_PROVIDER
def test_the_same_submit_again_is_the_same_task_where_the_caller_chooses_its_id(
    provider: type[Provider], server: Simulator, connect: Connect
):
    """Elsewhere it is another charge, which is why it is never sent again."""
    client, request, name = connect(provider), cheapest(provider), reference()
    accepted = {send_submit(client, request, request.body(str), name).task_id for _ in range(2)}
    assert len(accepted) == len(server.tasks()) == (1 if provider.REPLAYABLE else 2)


@EVERY_PROVIDER
def test_a_full_poll_has_a_fact_about_each_of_its_tasks(provider: type[Provider], connect: Connect):
    """As many as one poll may ask about, known and unknown."""
    client, request = connect(provider), cheapest(provider)
    known = send_submit(client, request, request.body(str), reference()).task_id
    asked = [known, *(reference() for _ in range(provider.POLL_BATCH - 1))]
    facts = client.poll([TaskRef(task_id) for task_id in asked])
    assert list(facts) == asked
    assert {task_id for task_id, fact in facts.items() if fact != Missing()} <= {known}
