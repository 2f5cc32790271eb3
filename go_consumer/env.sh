# shellcheck shell=sh
# Tells Go where the TensorFlow C library is: that in the active environment's tensorflow package, else in .venv.
#
#   source go_consumer/env.sh
#
# What you set yourself stays: with CGO_LDFLAGS set, or a libtensorflow.so that the linker finds (installed in
# /usr/local/lib, or in a folder of LIBRARY_PATH), this does nothing.

_find_tensorflow() {
    if [ -n "${CGO_LDFLAGS-}" ]; then
        return 0
    fi
    if echo 'int main(void) { return 0; }' | ${CC:-gcc} -x c - -o /dev/null -ltensorflow 2>/dev/null; then
        return 0
    fi
    _root=$(git rev-parse --show-toplevel 2>/dev/null || pwd)
    _python=python
    if [ -z "${VIRTUAL_ENV-}${CONDA_PREFIX-}" ]; then
        _python=$_root/.venv/bin/python
    fi
    # Looking for a package does not import it.
    _tensorflow=$("$_python" -c 'import importlib.util as u; print(*u.find_spec("tensorflow").submodule_search_locations)' 2>/dev/null)
    if [ ! -f "$_tensorflow/libtensorflow_cc.so.2" ]; then
        echo "env.sh: no TensorFlow C library: $_python has no tensorflow package (run make venv, or activate the environment that has it)" >&2
        return 1
    fi
    # The package names its library otherwise than the one that the Go binding asks for: this text leads the linker there.
    mkdir -p "$_root/.cache/tensorflow"
    echo "GROUP ( $_tensorflow/libtensorflow_cc.so.2 $_tensorflow/libtensorflow_framework.so.2 )" >"$_root/.cache/tensorflow/libtensorflow.so"
    export CGO_CFLAGS="${CGO_CFLAGS--O2 -g} -I$_tensorflow/include"
    export CGO_LDFLAGS="-L$_root/.cache/tensorflow -Wl,-rpath,$_tensorflow"
}

_find_tensorflow
