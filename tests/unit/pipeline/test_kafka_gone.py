"""What Kafka's silence, or its no, is in one line; the same whichever client library met it."""

import ssl

import pytest
from aiokafka import errors
from confluent_kafka import KafkaError, KafkaException

from pipeline.errors import BrokerGoneError, NotAllowedError
from pipeline.kafka import gone


@pytest.mark.parametrize(
    ("error", "kind", "remedy"),
    [
        (errors.TopicAuthorizationFailedError("a.v1"), NotAllowedError, "`firmwatt broker acls` prints"),
        (errors.GroupAuthorizationFailedError("g"), NotAllowedError, "`firmwatt broker acls` prints"),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), NotAllowedError, "`firmwatt broker acls`"),
        (KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)), NotAllowedError, "`firmwatt broker acls`"),
        (errors.SaslAuthenticationFailed("invalid credentials"), NotAllowedError, "see username, password_file"),
        (errors.UnsupportedSaslMechanismError("none"), NotAllowedError, "mechanism in [kafka]"),
        (KafkaException(KafkaError(KafkaError._AUTHENTICATION)), NotAllowedError, "see username, password_file"),
        (ssl.SSLCertVerificationError(1, "expired"), NotAllowedError, "see security, ca_file"),
        (KafkaException(KafkaError(KafkaError._SSL)), NotAllowedError, "see security, ca_file"),
        (errors.KafkaConnectionError("closed"), BrokerGoneError, "if it runs, see security"),
        (ConnectionRefusedError(111, "refused"), BrokerGoneError, "`broker start` starts it"),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), BrokerGoneError, "`broker start` starts it"),
        (TimeoutError("no answer for 10 s"), BrokerGoneError, "`broker start` starts it"),
    ],
)
def test_the_address_the_reason_and_what_to_do(error: Exception, kind: type[BrokerGoneError], remedy: str) -> None:
    told = gone("kafka-1:9093", error)

    assert type(told) is kind
    assert "kafka-1:9093" in str(told)
    assert remedy in str(told)
    assert "\n" not in str(told)
    assert told.exit_code == 5
