#!/usr/bin/env bash
# Leave helm and promtool in .venv/bin, for the tests that ask them about the chart and the alert rules; without them
# those tests are skipped. helm is built by Go (some minutes, once a machine: it is kept in the user's cache), promtool
# comes out of Debian's prometheus package, which is not installed. Nothing outside the cache and .venv changes.
set -euo pipefail
cd "$(dirname "$0")/.."

helm_version=v3.22.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/firmwatt
bin=.venv/bin

say() { printf 'tools: %s\n' "$1" >&2; }
fail() { say "$1"; exit 4; }

[[ -d $bin ]] || fail 'no .venv: run `make setup` first'

have_helm() { command -v helm >/dev/null || [[ -x $bin/helm ]]; }
have_promtool() { command -v promtool >/dev/null || [[ -x $bin/promtool ]]; }

build_helm() {
    local built=$cache/helm-$helm_version/helm
    if [[ ! -x $built ]]; then
        command -v go >/dev/null || fail 'helm is not here, nor Go to build it: install one of them'
        say "building helm $helm_version: some minutes, once"
        GOBIN=$(dirname "$built") GOFLAGS=-mod=mod GOWORK=off \
            go install -trimpath -ldflags='-s -w' "helm.sh/helm/v3/cmd/helm@$helm_version" 2>"$cache/helm.log" ||
            fail "Go could not build helm; what it says is in $cache/helm.log"
    fi
    install -m 755 "$built" "$bin/helm"
}

unpack_promtool() {
    local kept=$cache/promtool folder
    if [[ ! -x $kept ]]; then
        command -v apt-get >/dev/null || fail 'promtool is not here, nor Debian packages to take it from: install it'
        say "taking promtool from Debian's package of Prometheus"
        folder=$(mktemp -d)
        chmod 755 "$folder" # apt's own user writes here
        (cd "$folder" && { apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; } \
            && dpkg-deb --extract prometheus_*.deb .) >"$cache/promtool.log" 2>&1 ||
            fail "apt-get could not fetch prometheus; what it says is in $cache/promtool.log"
        install -m 755 "$folder/usr/bin/promtool" "$kept"
        rm -rf "$folder"
    fi
    install -m 755 "$kept" "$bin/promtool"
}

mkdir -p "$cache"
have_helm || build_helm
have_promtool || unpack_promtool
say 'ready: helm, promtool'
