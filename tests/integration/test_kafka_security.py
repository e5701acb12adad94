"""Who gets into a secured broker, and what he may do there: real Kafka, the clients that our processes use."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAuthorizationFailedError, for_code
from doubles.guarded import Guarded, may_join, readable, secured, trouble, values, written
from doubles.rights import TABLE

from collectors.forward import Forwarder
from collectors.spool import Spool
from deploy.broker.certificates import authority
from deploy.broker.node import Variant
from pipeline.clock import Clock
from pipeline.errors import BrokerGoneError, NotAllowedError
from pipeline.kafka import Sender, consumer, ensure_topics
from pipeline.kafka_security import for_aiokafka
from pipeline.settings import Kafka
from pipeline.topics import ACKS, COMMANDS, HOST_TICKS

pytestmark = pytest.mark.broker

Change = Callable[[Kafka, Path], Kafka]


@pytest.fixture(scope="module")
def scram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield a broker that lets in principals with a password; each topic has a record on its first partition."""
    with secured(tmp_path_factory.mktemp("scram"), Variant.SCRAM) as broker:
        yield broker


def put(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


def password_of(kafka: Kafka) -> bytes:
    return Path(kafka.password_file).read_bytes().strip()


async def let_in(kafka: Kafka) -> None:
    """Connect as every one of our processes does."""
    async with Sender(kafka):
        pass


# ---- what principals may do ----


@pytest.mark.parametrize(
    "principal", ["collector", "actuator", "worker", "dispatch", "archive", "monitor", "mirror", "fleet"]
)
def test_a_principal_may_do_what_the_table_says_and_nothing_else(scram: Guarded, principal: str) -> None:
    """Each topic of the project, reading and writing: 17 topics by 8 principals by 2."""
    kafka = scram.kafka(principal)

    assert written(kafka, TABLE) == {topic for topic, rights in TABLE.items() if "Write" in rights.get(principal, "")}
    assert readable(kafka, TABLE) == {topic for topic, rights in TABLE.items() if "Read" in rights.get(principal, "")}


@pytest.mark.parametrize(
    ("principal", "groups"),
    [
        ("worker", {"firmwatt", "firmwatt-some", "firmwatt-archive"}),
        ("archive", {"firmwatt-archive"}),
        ("actuator", set()),
        ("dispatch", set()),
        ("monitor", set()),
    ],
)
async def test_only_workers_and_the_archive_have_groups(scram: Guarded, principal: str, groups: set[str]) -> None:
    """Nobody else can move the place from which they go on; `firmwatts` is not their group either."""
    tried = ("firmwatt", "firmwatt-some", "firmwatt-archive", "firmwatts", "other")
    topic = COMMANDS.name if principal == "actuator" else ACKS.name

    assert {group for group in tried if await may_join(scram.kafka(principal), group, topic)} == groups


@pytest.mark.parametrize(
    ("principal", "topics"),
    [("worker", {"firmwatt-x-changelog"}), ("dispatch", set()), ("collector", set()), ("monitor", set())],
)
async def test_only_workers_make_topics_and_only_their_own(scram: Guarded, principal: str, topics: set[str]) -> None:
    tried = ("firmwatt-x-changelog", "other-x-changelog", "control.command.v2")
    admin = AIOKafkaAdminClient(**for_aiokafka(scram.kafka(principal)))
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, 1, 1) for name in tried])
    finally:
        await admin.close()

    outcomes = {name: for_code(code) for name, code, *_ in answer.topic_errors}
    assert {name for name, kind in outcomes.items() if kind is TopicAuthorizationFailedError} == set(tried) - topics


async def test_topics_that_are_there_need_no_right_to_make_them(scram: Guarded) -> None:
    """The actuator sees its two; a topic that is hidden from it might as well be missing, and it says who can help."""
    await ensure_topics(scram.kafka("actuator"), [COMMANDS, ACKS])

    with pytest.raises(NotAllowedError, match=r"^telemetry\.host\.v1 is missing at .*let a pipeline worker create it"):
        await ensure_topics(scram.kafka("actuator"), [HOST_TICKS])


async def test_what_is_refused_says_who_prints_the_rights(scram: Guarded) -> None:
    with pytest.raises(NotAllowedError, match=r"does not let us .*control\.command\.v1.*`firmwatt broker acls`"):
        async with consumer(scram.kafka("collector"), COMMANDS):
            pass


# ---- who gets in ----


def another_password(kafka: Kafka, folder: Path) -> Kafka:
    return msgspec.structs.replace(kafka, password_file=put(folder / "password", b"guess"))


def another_authority(kafka: Kafka, folder: Path) -> Kafka:
    stranger = authority("firmwatt broker authority", Clock().now())
    return msgspec.structs.replace(kafka, ca_file=put(folder / "ca.pem", stranger.certificate_pem))


def plaintext(kafka: Kafka, _: Path) -> Kafka:
    return Kafka(bootstrap=kafka.bootstrap)


def password_in_the_clear(kafka: Kafka, _: Path) -> Kafka:
    return msgspec.structs.replace(kafka, security="sasl_plaintext", ca_file="")


def no_login(kafka: Kafka, _: Path) -> Kafka:
    return Kafka(bootstrap=kafka.bootstrap, security="ssl", ca_file=kafka.ca_file)


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        (another_password, NotAllowedError, "does not know us .*invalid credentials.*see username, password_file"),
        (
            lambda kafka, _: msgspec.structs.replace(kafka, username="nobody"),
            NotAllowedError,
            "does not know us .*invalid credentials",
        ),
        (
            lambda kafka, _: msgspec.structs.replace(kafka, mechanism="SCRAM-SHA-256"),
            NotAllowedError,
            "does not know us .*UnsupportedSaslMechanism",
        ),
        (another_authority, NotAllowedError, "no TLS with Kafka .*certificate verify failed.*see security, ca_file"),
        (
            lambda kafka, _: msgspec.structs.replace(kafka, ca_file=""),
            NotAllowedError,
            "no TLS with Kafka .*unable to get local issuer certificate",
        ),
        (plaintext, BrokerGoneError, "if it runs, see security"),
        (password_in_the_clear, BrokerGoneError, "if it runs, see security"),
        (no_login, BrokerGoneError, "if it runs, see security"),
    ],
    ids=["password", "user", "mechanism", "authority", "system", "plaintext", "clear", "no login"],
)
async def test_whoever_does_not_belong_is_refused_in_one_line(
    scram: Guarded, tmp_path: Path, change: Change, kind: type[BrokerGoneError], reason: str
) -> None:
    kafka = scram.kafka("worker")
    await let_in(kafka)

    with pytest.raises(kind, match=reason) as told:
        await let_in(change(kafka, tmp_path))

    assert type(told.value) is kind
    assert "\n" not in str(told.value)
    assert password_of(kafka) not in str(told.value).encode()


@asynccontextmanager
async def relay(host: str, address: str) -> AsyncIterator[str]:
    """Yield an address on *host* behind which the one at *address* answers."""
    to, _, port = address.rpartition(":")
    ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(to, int(port))
        ends.extend((writer, back))
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    async with await asyncio.start_server(carry, host, 0) as server:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    for end in ends:
        end.close()
    await asyncio.gather(*(end.wait_closed() for end in ends), return_exceptions=True)


async def test_a_broker_by_another_name_is_not_believed(scram: Guarded) -> None:
    """The same broker with the same certificate, reached at an address that the certificate does not name."""
    async with relay("127.0.0.1", scram.node.bootstrap) as known:
        await let_in(msgspec.structs.replace(scram.kafka("worker"), bootstrap=known))
    async with relay("127.0.0.2", scram.node.bootstrap) as unknown:
        with pytest.raises(NotAllowedError, match=r"IP address mismatch.*the name it is reached by"):
            await let_in(msgspec.structs.replace(scram.kafka("worker"), bootstrap=unknown))


async def test_librdkafka_is_as_hard_to_please(scram: Guarded, tmp_path: Path) -> None:
    """Another library, the same settings: neither a strange authority nor a strange name is believed."""
    kafka = scram.kafka("worker")
    async with relay("127.0.0.2", scram.node.bootstrap) as unknown:
        refused = [another_authority(kafka, tmp_path), msgspec.structs.replace(kafka, bootstrap=unknown)]
        reasons = [await asyncio.to_thread(trouble, wrong) for wrong in refused]

    assert trouble(kafka) == ""
    assert ["certificate verify failed" in reason for reason in reasons] == [True, True]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("listener", ["CLIENT", "BROKER", "CONTROLLER"])
async def test_no_listener_speaks_less_than_tls_1_2(scram: Guarded, listener: str) -> None:
    """The client would take any version and any cipher; only the broker can be the one who refuses."""
    host, _, port = scram.listeners()[listener].rpartition(":")

    async def version(newest: ssl.TLSVersion) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.close()
        return str(writer.get_extra_info("ssl_object").version())

    if listener == "CLIENT":
        assert await version(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    else:
        with pytest.raises(ssl.SSLError, match="BAD_CERTIFICATE"):  # so far and no further: nodes show theirs
            await version(ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        await version(ssl.TLSVersion.TLSv1_1)


# ---- the clients ----


async def test_ticks_go_from_the_spool_to_whoever_may_read_them(scram: Guarded, tmp_path: Path) -> None:
    """The collector's own way to Kafka with the collector's rights, which do not include making the topic."""
    with Spool.open(tmp_path / "spool", 1_000_000) as spool:
        forwarder, stop = Forwarder(scram.kafka("collector"), spool), asyncio.Event()
        running = asyncio.create_task(forwarder.run(stop))
        for seq in range(1, 21):
            spool.append(
                seq, msgspec.json.encode({"host": "secured", "seq": seq, "measured_at": "2026-07-23T12:00:00Z"})
            )
            forwarder.wake()
        async with asyncio.timeout(60):
            while spool.depth:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
        stop.set()
        await running

    assert await read_seqs(scram.kafka("monitor"), b"secured") == list(range(1, 21))
    assert confluent_seqs(scram.kafka("monitor"), b"secured") == list(range(1, 21))


async def read_seqs(kafka: Kafka, key: bytes) -> list[int]:
    """Return the numbers of one host's ticks, read with aiokafka."""
    found: list[int] = []
    async with consumer(kafka, HOST_TICKS) as reader:
        ends = await reader.end_offsets(list(reader.assignment()))
        while any([await reader.position(partition) < end for partition, end in ends.items()]):
            for records in (await reader.getmany(timeout_ms=200)).values():
                found += [msgspec.json.decode(record.value)["seq"] for record in records if record.key == key]
    return found


def confluent_seqs(kafka: Kafka, key: bytes) -> list[int]:
    """Return the numbers of one host's ticks, read with confluent-kafka."""
    return [msgspec.json.decode(value)["seq"] for value in values(kafka, HOST_TICKS.name, HOST_TICKS.partitions, key)]


async def test_a_password_that_comes_late_is_taken_up(scram: Guarded, tmp_path: Path) -> None:
    """A collector without its password measures on, says what it lacks, and sends once the file is there."""
    kafka = msgspec.structs.replace(scram.kafka("collector"), password_file=str(tmp_path / "password"))
    with Spool.open(tmp_path / "spool", 1_000_000) as spool:
        forwarder, stop = Forwarder(kafka, spool), asyncio.Event()
        spool.append(1, msgspec.json.encode({"host": "late", "seq": 1, "measured_at": "2026-07-23T12:00:00Z"}))
        running = asyncio.create_task(forwarder.run(stop))
        async with asyncio.timeout(60):
            while forwarder.trouble is None:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
            assert forwarder.trouble.endswith("password: No such file or directory")
            put(tmp_path / "password", password_of(scram.kafka("collector")))
            while spool.depth:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
        stop.set()
        await running

    assert forwarder.acknowledged_total == 1


def test_no_password_is_in_any_file_but_its_own(scram: Guarded) -> None:
    """Not in the node's settings, log or storage; what Kafka keeps of a password is not in the log either."""
    data, security = scram.node.data, scram.security
    words = {name: password_of(scram.kafka(name)) for name in security.principals}
    texts = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}

    holders = {path for path, text in texts.items() for word in words.values() if word in text}

    assert holders == {security.of_client(name, "password") for name in words}
    assert (data / "broker.log") in texts
    assert b"ScramCredential" not in texts[data / "broker.log"]
    assert not [path for path in data.iterdir() if path.name.startswith(".format-")]
