# Sourced: ggml, natively optimized, from the source that the llama-cpp-python package carries.
#
#   build_ggml ROOT                  once, under ROOT/build/peers; sets ggml_source and ggml_libraries
#   compile_with_ggml SOURCE PROGRAM

build_ggml() {
  local work=$1/build/peers venv=$1/build/engines/venv version=0.3.36
  [[ -f $venv/complete ]] || { echo "run tests/engines/run.sh once, it makes the environment" >&2; exit 2; }
  mkdir -p "$work"
  ggml_source=$work/llama_cpp_python-$version/vendor/llama.cpp
  if [[ ! -f $work/ggml/complete ]]; then
    "$venv/bin/pip" install --quiet scikit-build-core==1.1.2
    "$venv/bin/pip" download --quiet --no-deps --no-binary :all: --no-build-isolation -d "$work" llama-cpp-python==$version
    tar xzf "$work/llama_cpp_python-$version.tar.gz" -C "$work"
    cmake -S "$ggml_source" -B "$work/ggml" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_OPENMP=OFF \
      -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >"$work/configure.log" 2>&1
    cmake --build "$work/ggml" --target ggml-cpu >"$work/build.log"
    touch "$work/ggml/complete"
  fi
  ggml_libraries=$(dirname "$(find "$work/ggml" -name libggml-cpu.so | head -n 1)")
}

compile_with_ggml() {
  cc -O2 -std=c11 -D_POSIX_C_SOURCE=200809L -I"$ggml_source/ggml/include" "$1" -o "$2" \
    -L"$ggml_libraries" -Wl,-rpath,"$ggml_libraries" -lggml-cpu -lggml-base -lm
}
