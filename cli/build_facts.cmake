# Writes OUTPUT with the commit of SOURCE_DIR at build time; leaves it alone when nothing changed.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --abbrev=10 --exclude=* --dirty=+
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
#include "cli/build_facts.hpp"

namespace viva::cli {

const char* const build_commit = "@commit@";
const char* const build_compiler = "@COMPILER@";

} // namespace viva::cli
]])
