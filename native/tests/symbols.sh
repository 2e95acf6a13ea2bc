#!/bin/sh
# symbols.sh LIBRARY OBJECT...: the library shows its C interface only and links no thread pool; the kernels of an
# instruction set define no inline function that others might be linked with, for it could not run everywhere.
set -eu
library=$1
shift
if nm -D --defined-only "$library" | grep -v ' ost_'; then
  echo "these should be hidden" >&2
  exit 1
fi
if ldd "$library" | grep -E 'gomp|omp5|tbb|python|torch'; then
  echo "these should not be linked" >&2
  exit 1
fi
for object in "$@"; do
  set_of=$(basename "$object" .cpp.o)
  if nm -C "$object" | grep -E ' [VvWwu] ' | grep -v -e "ostinato::${set_of#kernels_}::" -e "ostinato::$set_of<"; then
    echo "$object: these could be called where $set_of does not run" >&2
    exit 1
  fi
done
