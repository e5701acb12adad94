"""
Every record that crosses Kafka: the system's vocabulary, read first.

- `pipeline.messages.telemetry`: what hosts measure, and what the pipeline makes of it (msgspec, high rate)
- `pipeline.messages.control`: signed leases down to the GPU, acknowledgements back (msgspec)
- `pipeline.messages.market`: offers, awards, dispatches, performance, statements (pydantic, crosses trust boundaries)

A message is a frozen fact. A changed shape is a new tag on a new topic; new fields have defaults.
Consumption is positive, instants are UTC and aware, names carry units, absent is null and never zero.
"""
