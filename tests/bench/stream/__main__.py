"""``make bench-stream``: one JSON line a figure, real Apache Kafka on this machine."""

from bench.stream import throughput

if __name__ == "__main__":
    throughput.main()
