"""
Download jars without Maven: ``python -m deploy.broker.download FOLDER [--from URL] GROUP:ARTIFACT:VERSION…``.

A program of its own, so that proxies and certificate authorities given in its environment bind nobody else, and so
that it can be ended at any moment. FOLDER gets the layout of a Maven repository. What the jars hold is checked by
whoever asked.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_ONCE = 6
TIMEOUT_S = 20


def main(argv: list[str]) -> int:
    """Download all; on the first failure say why on standard error and return 1."""
    parser = argparse.ArgumentParser(prog="deploy.broker.download")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="url", help="a mirror of the central repository")
    parser.add_argument("coordinates", nargs="+")
    args = parser.parse_args(argv)

    import requests
    from jgo.maven import MavenContext

    remotes = {"mirror": args.url} if args.url else None
    context = MavenContext(repo_cache=args.folder, remote_repos=remotes, timeout=TIMEOUT_S)
    artifacts = [context.create_dependency(word).artifact for word in args.coordinates]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            list(pool.map(lambda artifact: artifact.resolve(), artifacts))
        except (requests.RequestException, RuntimeError, OSError) as error:
            pool.shutdown(cancel_futures=True)
            print(f"{type(error).__name__}: {first_cause(error)}", file=sys.stderr)  # noqa: T201 - the caller reports it
            return 1
    return 0


def first_cause(error: BaseException) -> str:
    """Return in one line what began the chain of exceptions that ended in *error*."""
    while earlier := error.__cause__ or error.__context__:
        error = earlier
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
