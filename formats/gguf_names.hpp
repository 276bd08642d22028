#pragma once

// Hugging Face's names of modules, as llama.cpp calls them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace viva::formats {

struct gguf_module {
  std::string name;                    ///< "blk.3.ffn_down"
  std::optional<std::uint64_t> expert; ///< The slice of a stacked weight.
};

/// "model.layers.3.mlp.down_proj" to "blk.3.ffn_down"; none where the module has no such name.
/// Whatever stands before "layers." does not count.
std::optional<gguf_module> gguf_module_of(std::string_view module);

} // namespace viva::formats
