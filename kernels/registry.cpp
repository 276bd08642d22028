#include "kernels/registry.hpp"

#include "kernels/awq.hpp"
#include "kernels/ggml_blocks.hpp"
#include "kernels/int4.hpp"
#include "kernels/int8.hpp"
#include "kernels/int8_group.hpp"
#include "kernels/int8_tensor.hpp"
#include "kernels/llm_int8.hpp"
#include "kernels/magnitude_survey.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_dq.hpp"
#include "kernels/q4_0.hpp"
#include "kernels/q4_1.hpp"
#include "kernels/q5_0.hpp"
#include "kernels/q5_1.hpp"
#include "kernels/q8_0.hpp"

#include <algorithm>

namespace viva::kernels {

namespace {

constexpr std::uint32_t nf4_blocks[] = {64, 32, 128, 256, 512, 1024, 2048, 4096};
constexpr std::uint32_t ggml_blocks[] = {32};

constexpr option_rules::flag awq_flags[] = {{"no-clip", awq::no_clip}, {"rtn", awq::rtn}};
constexpr std::uint32_t group_sizes[] = {128, 64, 32};
constexpr option_rules::flag int4_flags[] = {
    {"asym", int4::asym}, {"search", int4::search}, {"absmax", int4::absmax}};

constexpr option_rules no_options{};
constexpr option_rules group_options{
    .size_key = "group", .sizes = group_sizes, .flags = {}, .whole_blocks = true};
constexpr option_rules int4_options{
    .size_key = "group", .sizes = group_sizes, .flags = int4_flags, .whole_blocks = true};
constexpr option_rules awq_options{
    .size_key = "group", .sizes = group_sizes, .flags = awq_flags, .whole_blocks = false};
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
        .name = "int8-tensor",
        .summary = "8-bit integers, one scale per tensor (W8A8)",
        .layouts = "compressed-tensors",
        .options = "",
        .cols_multiple = 1,
        .sqnr_db_normal = 38.75,
        .rules = no_options,
        .shape = int8_tensor::shape,
        .encode_reference = int8_tensor::encode_reference,
        .encode_simd = int8_tensor::encode_simd,
        .decode_reference = int8_tensor::decode_reference,
        .decode_simd = int8_tensor::decode_simd,
        .survey_run = survey_magnitude,
        .survey_finish = int8_tensor::survey_finish,
    },
    {
        .name = "int8-group",
        .summary = "8-bit integers, one scale per group of 128 columns (W8A16)",
        .layouts = "compressed-tensors",
        .options = "group=128|64|32",
        .cols_multiple = group_sizes[0],
        .sqnr_db_normal = 43.71,
        .rules = group_options,
        .shape = int8_group::shape,
        .encode_reference = int8_group::encode_reference,
        .encode_simd = int8_group::encode_simd,
        .decode_reference = int8_group::decode_reference,
        .decode_simd = int8_group::decode_simd,
    },
    {
        .name = "llm-int8",
        .summary = "8-bit integers by the rule of LLM.int8, one f32 scale per row",
        .layouts = "bitsandbytes",
        .options = "",
        .cols_multiple = 1,
        .sqnr_db_normal = 42.58,
        .rules = no_options,
        .shape = llm_int8::shape,
        .encode_reference = llm_int8::encode_reference,
        .encode_simd = llm_int8::encode_simd,
        .decode_reference = llm_int8::decode_reference,
        .decode_simd = llm_int8::decode_simd,
    },
    {
        .name = "int4",
        .summary = "4-bit integers, one scale per group of 128 columns (W4A16)",
        .layouts = "compressed-tensors",
        .options = "group=128|64|32, asym, search, absmax",
        .cols_multiple = group_sizes[0],
        .sqnr_db_normal = 19.10,
        .rules = int4_options,
        .shape = int4::shape,
        .encode_reference = int4::encode_reference,
        .encode_simd = int4::encode_simd,
        .decode_reference = int4::decode_reference,
        .decode_simd = int4::decode_simd,
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
        .cols_multiple = ggml_block_values,
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
        .cols_multiple = ggml_block_values,
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
    {
        .name = "q4_1",
        .summary = "GGUF Q4_1: 4-bit integers, an f16 scale and minimum per block of 32",
        .layouts = "safetensors",
        .options = "",
        .cols_multiple = ggml_block_values,
        .sqnr_db_normal = 22.13,
        .rules = ggml_options,
        .shape = q4_1::shape,
        .encode_reference = q4_1::encode_reference,
        .encode_simd = q4_1::encode_simd,
        .decode_reference = q4_1::decode_reference,
        .decode_simd = q4_1::decode_simd,
    },
    {
        .name = "q5_0",
        .summary = "GGUF Q5_0: 5-bit integers, one f16 scale per block of 32",
        .layouts = "safetensors",
        .options = "",
        .cols_multiple = ggml_block_values,
        .sqnr_db_normal = 27.39,
        .rules = ggml_options,
        .shape = q5_0::shape,
        .encode_reference = q5_0::encode_reference,
        .encode_simd = q5_0::encode_simd,
        .decode_reference = q5_0::decode_reference,
        .decode_simd = q5_0::decode_simd,
    },
    {
        .name = "q5_1",
        .summary = "GGUF Q5_1: 5-bit integers, an f16 scale and minimum per block of 32",
        .layouts = "safetensors",
        .options = "",
        .cols_multiple = ggml_block_values,
        .sqnr_db_normal = 28.44,
        .rules = ggml_options,
        .shape = q5_1::shape,
        .encode_reference = q5_1::encode_reference,
        .encode_simd = q5_1::encode_simd,
        .decode_reference = q5_1::decode_reference,
        .decode_simd = q5_1::decode_simd,
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
