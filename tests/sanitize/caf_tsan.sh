#!/usr/bin/env bash
# Supervision and actors under the thread sanitizer, against a CAF that is built with it.
#
#   tests/sanitize/caf_tsan.sh [TEST FILTER]
#
# Debian's libcaf is not instrumented: the sanitizer cannot see its synchronization and reports races that are
# none, hundreds in a run. So this fetches Debian's own source package, builds it with the sanitizer
# (four minutes on two cores, once), then this project against them, and runs both test programs. The last line
# is "N passed, N failed"; a report fails its program.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$root/build/caf-tsan
jobs=${JOBS:-$(nproc)}
mkdir -p "$work"

# The source is of the same version as the library in use. Only the tarball of its authors is needed.
fetch() {
  local parts=$work/sources lists=$work/lists package version
  local options=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$parts"
                 -o "Dir::State::Lists=$lists" -o APT::Sandbox::User=root)
  mkdir -p "$parts" "$lists/partial"
  cp /etc/apt/sources.list.d/*.sources "$parts/" 2>/dev/null || true
  cp /etc/apt/sources.list.d/*.list /etc/apt/sources.list "$parts/" 2>/dev/null || true
  [[ -f $parts/sources.list ]] || rm -f "$parts/sources.list"
  sed -i 's/^Types:.*/Types: deb-src/' "$parts"/*.sources 2>/dev/null || true
  sed -i 's/^deb /deb-src /' "$parts"/*.list 2>/dev/null || true
  package=$(dpkg-query -W -f='${source:Package}' libcaf-dev)
  version=$(dpkg-query -W -f='${source:Version}' libcaf-dev)
  apt-get -qq "${options[@]}" update
  (cd "$work" && apt-get -qq "${options[@]}" source --download-only --tar-only "$package=$version")
  mkdir -p "$work/source"
  tar xzf "$work/${package}_${version%-*}.orig.tar.gz" -C "$work/source" --strip-components=1
}

# GCC 12 no longer pulls <limits> and <cstdint> in for CAF 0.17's sources.
build_caf() {
  cmake -S "$work/source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCMAKE_CXX_FLAGS='-std=c++17 -fsanitize=thread -g1 -include limits -include cstdint -w' \
    -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_INSTALL_PREFIX="$work/prefix" -DCAF_BUILD_STATIC_ONLY=ON \
    -DCAF_NO_TOOLS=ON -DCAF_NO_EXAMPLES=ON -DCAF_NO_UNIT_TESTS=ON -DCAF_NO_PYTHON=ON \
    >"$work/configure.log"
  cmake --build "$work/build" -j "$jobs" >"$work/build.log"
  cmake --install "$work/build" >"$work/install.log"
}

[[ -d $work/source ]] || fetch
[[ -d $work/prefix ]] || build_caf

cd "$root"
static_caf=()
for part in core io openssl; do
  library=$work/prefix/lib/libcaf_${part}_static.a
  [[ -f $library ]] || library=$(compgen -G "$work/prefix/lib/*/libcaf_${part}_static.a")
  static_caf+=("-DCAF_${part}_LIBRARY=$library")
done
cmake --preset tsan -B "$work/viva" -DCAF_INCLUDE_DIR="$work/prefix/include" "${static_caf[@]}" >"$work/configure-viva.log"
cmake --build "$work/viva" -j "$jobs" --target viva_supervision_tests viva_actors_tests

if ldd "$work/viva/tests/actors/viva_actors_tests" | grep libcaf; then
  echo "caf_tsan.sh: linked to Debian's CAF, which the sanitizer does not follow" >&2
  exit 1
fi

# Signals of a ward are left to the system: the sanitizer would tell a crash as an exit.
signals=handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigfpe=0:handle_sigill=0
passed=0 failed=0
for program in supervision actors; do
  filter=${1:-'~[.]'}
  [[ $program == supervision || $# != 0 ]] || filter+='~[simulation]' # of one thread, and half an hour
  if TSAN_OPTIONS=halt_on_error=0:exitcode=66:$signals \
      "$work/viva/tests/$program/viva_${program}_tests" "$filter" >"$work/$program.log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    grep -m 20 -A 12 'WARNING: ThreadSanitizer' "$work/$program.log" || tail -n 20 "$work/$program.log"
  fi
  tail -n 2 "$work/$program.log"
done
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[[ $failed == 0 ]]
