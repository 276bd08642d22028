#include "kernels/registry.hpp"

#include "kernels/awq.hpp"
#include "kernels/int8.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_dq.hpp"
#include "kernels/q4_0.hpp"
#include "kernels/q8_0.hpp"

#include <algorithm>

namespace viva::kernels {

namespace {

constexpr std::uint32_t nf4_blocks[] = {64, 32, 128, 256, 512, 1024, 2048, 4096};
constexpr std::uint32_t ggml_blocks[] = {32};

constexpr std::uint32_t awq_groups[] = {128, 64, 32};
constexpr option_rules::flag awq_flags[] = {{"no-clip", awq::no_clip}, {"rtn", awq::rtn}};

constexpr option_rules no_options{};
constexpr option_rules awq_options{.size_key = "group", .sizes = awq_groups, .flags = awq_flags};
constexpr option_rules nf4_options{.size_key = "block", .sizes = nf4_blocks, .flags = {}};
constexpr option_rules ggml_options{.size_key = {}, .sizes = ggml_blocks, .flags = {}};

constexpr method table[] = {
    {
        .name = "int8",
        .summary = "8-bit integers, one scale per row (W8A8)",
        .layouts = "compressed-tensors",
        .options = "",
        .cols_multiple = 1,
        .sqnr_db_normal = 42.58,
        .rules = no_options,
        .shape = int8::shape,
        .encode_reference = int8::encode_reference,
        .encode_simd = int8::encode_simd,
        .decode_reference = int8::decode_reference,
        .decode_simd = int8::decode_simd,
    },
    {
        .name = "nf4",
        .summary = "4-bit NormalFloat, one f32 scale per block of 64",
        .layouts = "bitsandbytes",
        .options = "block=32|64|128|256|512|1024|2048|4096",
        .cols_multiple = 1,
        .sqnr_db_normal = 20.73,
        .rules = nf4_options,
        .shape = nf4::shape,
        .encode_reference = nf4::encode_reference,
        .encode_simd = nf4::encode_simd,
        .decode_reference = nf4::decode_reference,
        .decode_simd = nf4::decode_simd,
    },
    {
        .name = "nf4-dq",
        .summary = "nf4 whose scales are 8-bit themselves (double quantization)",
        .layouts = "bitsandbytes",
        .options = "block=32|64|128|256|512|1024|2048|4096",
        .cols_multiple = 1,
        .sqnr_db_normal = 20.73,
        .rules = nf4_options,
        .shape = nf4_dq::shape,
        .encode_reference = nf4_dq::encode_reference,
        .encode_simd = nf4_dq::encode_simd,
        .decode_reference = nf4_dq::decode_reference,
        .decode_simd = nf4_dq::decode_simd,
        .survey_run = nf4_dq::survey_run,
        .survey_finish = nf4_dq::survey_finish,
    },
    {
        .name = "q8_0",
        .summary = "GGUF Q8_0: 8-bit integers, one f16 scale per block of 32",
        .layouts = "safetensors",
        .options = "",
        .cols_multiple = q8_0::block_values,
        .sqnr_db_normal = 45.43,
        .rules = ggml_options,
        .shape = q8_0::shape,
        .encode_reference = q8_0::encode_reference,
        .encode_simd = q8_0::encode_simd,
        .decode_reference = q8_0::decode_reference,
        .decode_simd = q8_0::decode_simd,
    },
    {
        .name = "q4_0",
        .summary = "GGUF Q4_0: 4-bit integers, one f16 scale per block of 32",
        .layouts = "safetensors",
        .options = "",
        .cols_multiple = q4_0::block_values,
        .sqnr_db_normal = 21.31,
        .rules = ggml_options,
        .shape = q4_0::shape,
        .encode_reference = q4_0::encode_reference,
        .encode_simd = q4_0::encode_simd,
        .decode_reference = q4_0::decode_reference,
        .decode_simd = q4_0::decode_simd,
    },
    {
        .name = "awq",
        .summary = "4-bit integers with zero points, scaled by what goes in (AutoAWQ GEMM)",
        .layouts = "awq",
        .options = "group=32|64|128, no-clip, rtn",
        .cols_multiple = 32,
        .sqnr_db_normal = 20.34,
        .rules = awq_options,
        .shape = awq::shape,
        .encode_reference = awq::encode_reference,
        .encode_simd = awq::encode_simd,
        .decode_reference = awq::decode_reference,
        .decode_simd = awq::decode_simd,
    },
};

} // namespace

std::span<const method> methods() noexcept {
  return table;
}

const method* find_method(std::string_view name) noexcept {
  const auto* found = std::ranges::find(table, name, &method::name);
  return found == std::end(table) ? nullptr : found;
}

void survey::merge(const survey& other) noexcept {
  count += other.count;
  sum.merge(other.sum);
  max = std::max(max, other.max);
}

} // namespace viva::kernels
