#!/usr/bin/env bash
# Packs a built program with its man pages, completion scripts and documents: what a user unpacks under /usr/local. Its symbols
# and line tables, if it has any, come to lie beside the archive, where a debugger finds them by the program's build id.
#   cargo build --profile dist && scripts/package.sh target/dist/hsr-gpu dist
set -euo pipefail
program=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."

name=hsr-gpu-$("$program" --version | cut -d' ' -f2)-$(uname -m)-$(uname -s | tr '[:upper:]' '[:lower:]')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
share=$root/share
mkdir -p "$root/bin" "$share/bash-completion/completions" "$share/zsh/site-functions" \
  "$share/fish/vendor_completions.d" "$share/doc/hsr-gpu"
install -m 755 "$program" "$root/bin/hsr-gpu"
if command -v objcopy >/dev/null; then
  objcopy --only-keep-debug --compress-debug-sections "$program" "$out/$name.debug"
  objcopy --strip-all --add-gnu-debuglink="$out/$name.debug" "$program" "$root/bin/hsr-gpu"
fi
"$program" manual --out "$share/man/man1" >/dev/null
"$program" completions bash >"$share/bash-completion/completions/hsr-gpu"
"$program" completions zsh >"$share/zsh/site-functions/_hsr-gpu"
"$program" completions fish >"$share/fish/vendor_completions.d/hsr-gpu.fish"
cp -r README.md LICENSE docs "$share/doc/hsr-gpu/"
mkdir -p "$share/doc/hsr-gpu/assets"
cp -r assets/README.md assets/pictures "$share/doc/hsr-gpu/assets/"
# Owners and times of this machine are nobody's business.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
  -C "$work" -czf "$out/$name.tar.gz" "$name"
echo "$out/$name.tar.gz"
