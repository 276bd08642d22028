#include "kernels/registry.hpp"

#include "kernels/awq.hpp"
#include "kernels/fp8.hpp"
#include "kernels/ggml_blocks.hpp"
#include "kernels/int4.hpp"
#include "kernels/int8.hpp"
#include "kernels/int8_group.hpp"
#include "kernels/int8_tensor.hpp"
#include "kernels/llm_int8.hpp"
#include "kernels/magnitude_survey.hpp"
#include "kernels/mxfp4.hpp"
#include "kernels/mxfp4_ggml.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_dq.hpp"
#include "kernels/nf4_f16.hpp"
#include "kernels/nf4_signed.hpp"
#include "kernels/normal_theory.hpp"
#include "kernels/nvfp4.hpp"
#include "kernels/nvfp4_ggml.hpp"
#include "kernels/q4_0.hpp"
#include "kernels/q4_1.hpp"
#include "kernels/q5_0.hpp"
#include "kernels/q5_1.hpp"
#include "kernels/q8_0.hpp"
#include "kernels/sparse24.hpp"
#include "kernels/sparse24_cutlass.hpp"
#include "kernels/sparse24_stack.hpp"

#include <algorithm>

namespace viva::kernels {

namespace {

constexpr std::uint32_t nf4_blocks[] = {64, 32, 128, 256, 512, 1024, 2048, 4096};
constexpr std::uint32_t ggml_blocks[] = {32};

constexpr std::uint32_t awq_groups[] = {128, 64, 32};
constexpr option_rules::flag awq_flags[] = {
    {"no-clip", awq::no_clip}, {"no-scale", awq::no_scale}, {"rtn", awq::rtn}};

constexpr option_rules awq_options{.size_key = "group", .sizes = awq_groups, .flags = awq_flags};
constexpr std::uint32_t group_sizes[] = {128, 64, 32};
constexpr option_rules::flag int4_flags[] = {
    {"asym", int4::asym}, {"search", int4::search}, {"absmax", int4::absmax}};

constexpr option_rules group_options{
    .size_key = "group", .sizes = group_sizes, .flags = {}, .whole_blocks = true};
constexpr option_rules int4_options{
    .size_key = "group", .sizes = group_sizes, .flags = int4_flags, .whole_blocks = true};
constexpr option_rules nf4_options{.size_key = "block", .sizes = nf4_blocks, .flags = {}};
constexpr option_rules ggml_options{.size_key = {}, .sizes = ggml_blocks, .flags = {}};

// The five functions of a method: their namespace, and what their names begin with.
#define VIVA_METHOD_FUNCTIONS(space, stem)                                                         \
  .shape = space::stem##shape, .encode_reference = space::stem##encode_reference,                  \
  .encode_simd = space::stem##encode_simd, .decode_reference = space::stem##decode_reference,      \
  .decode_simd = space::stem##decode_simd

constexpr method table[] = {
    {
        .name = "int8",
        .summary = "8-bit integers, one scale per row (W8A8)",
        .layouts = "compressed-tensors",
        .sqnr_db_normal = 42.58,
        VIVA_METHOD_FUNCTIONS(int8, ),
        .sqnr_db_theory = normal_theory::int8,
    },
    {
        .name = "int8-tensor",
        .summary = "8-bit integers, one scale per tensor (W8A8)",
        .layouts = "compressed-tensors",
        .sqnr_db_normal = 38.75,
        VIVA_METHOD_FUNCTIONS(int8_tensor, ),
        .survey_run = survey_magnitude,
        .survey_finish = int8_tensor::survey_finish,
        .sqnr_db_theory = normal_theory::int8_tensor,
    },
    {
        .name = "int8-group",
        .summary = "8-bit integers, one scale per group of 128 columns (W8A16)",
        .layouts = "compressed-tensors",
        .options = "group=128|64|32",
        .cols_multiple = group_sizes[0],
        .sqnr_db_normal = 43.71,
        .rules = group_options,
        VIVA_METHOD_FUNCTIONS(int8_group, ),
        .sqnr_db_theory = normal_theory::int8_group,
    },
    {
        .name = "llm-int8",
        .summary = "8-bit integers by the rule of LLM.int8, one f32 scale per row",
        .layouts = "bitsandbytes",
        .sqnr_db_normal = 42.58,
        VIVA_METHOD_FUNCTIONS(llm_int8, ),
        .sqnr_db_theory = normal_theory::llm_int8,
    },
    {
        .name = "int4",
        .summary = "4-bit integers, one scale per group of 128 columns (W4A16)",
        .layouts = "compressed-tensors",
        .options = "group=128|64|32, asym, search, absmax",
        .cols_multiple = group_sizes[0],
        .sqnr_db_normal = 19.10,
        .rules = int4_options,
        VIVA_METHOD_FUNCTIONS(int4, ),
        .sqnr_db_theory = normal_theory::int4,
    },
    {
        .name = "nf4",
        .summary = "4-bit NormalFloat, one f32 scale per block of 64",
        .layouts = "bitsandbytes",
        .options = "block=32|64|128|256|512|1024|2048|4096",
        .sqnr_db_normal = 20.73,
        .rules = nf4_options,
        VIVA_METHOD_FUNCTIONS(nf4, ),
        .sqnr_db_theory = normal_theory::nf4,
    },
    {
        .name = "nf4-dq",
        .summary = "nf4 whose scales are 8-bit themselves (double quantization)",
        .layouts = "bitsandbytes",
        .options = "block=32|64|128|256|512|1024|2048|4096",
        .sqnr_db_normal = 20.73,
        .rules = nf4_options,
        VIVA_METHOD_FUNCTIONS(nf4_dq, ),
        .survey_run = nf4_dq::survey_run,
        .survey_finish = nf4_dq::survey_finish,
        .sqnr_db_theory = normal_theory::nf4,
    },
    {
        .name = "nf4-signed",
        .summary = "nf4's bytes with fitted levels and signed scales: 0.6 dB better",
        .layouts = "safetensors",
        .options = "block=32|64|128|256|512|1024|2048|4096",
        .sqnr_db_normal = 21.34,
        .rules = nf4_options,
        VIVA_METHOD_FUNCTIONS(nf4_signed, ),
        .sqnr_db_theory = normal_theory::nf4_signed,
    },
    {
        .name = "nf4-f16",
        .summary = "nf4 with f16 scales",
        .layouts = "safetensors",
        .options = "block=32|64|128|256|512|1024|2048|4096",
        .sqnr_db_normal = 20.73,
        .rules = nf4_options,
        VIVA_METHOD_FUNCTIONS(nf4_f16, ),
        .sqnr_db_theory = normal_theory::nf4,
    },
    {
        .name = "q8_0",
        .summary = "GGUF Q8_0: 8-bit integers, one f16 scale per block of 32",
        .layouts = "safetensors",
        .cols_multiple = ggml_block_values,
        .sqnr_db_normal = 45.43,
        .rules = ggml_options,
        VIVA_METHOD_FUNCTIONS(q8_0, ),
        .sqnr_db_theory = normal_theory::q8_0,
    },
    {
        .name = "q4_0",
        .summary = "GGUF Q4_0: 4-bit integers, one f16 scale per block of 32",
        .layouts = "safetensors",
        .cols_multiple = ggml_block_values,
        .sqnr_db_normal = 21.31,
        .rules = ggml_options,
        VIVA_METHOD_FUNCTIONS(q4_0, ),
        .sqnr_db_theory = normal_theory::q4_0,
    },
    {
        .name = "fp8",
        .summary = "8-bit floats E4M3, one scale per row (FP8_DYNAMIC)",
        .layouts = "compressed-tensors",
        .sqnr_db_normal = 31.60,
        VIVA_METHOD_FUNCTIONS(fp8, row_),
        .sqnr_db_theory = normal_theory::fp8,
    },
    {
        .name = "fp8-tensor",
        .summary = "8-bit floats E4M3, one scale per tensor",
        .layouts = "compressed-tensors",
        .sqnr_db_normal = 31.5,
        VIVA_METHOD_FUNCTIONS(fp8, tensor_),
        .survey_run = survey_magnitude,
        .survey_finish = fp8::tensor_survey_finish,
        .numbers_shared = true,
        .sqnr_db_theory = normal_theory::fp8_tensor,
    },
    {
        .name = "fp8-block",
        .summary = "8-bit floats E4M3, one scale per block of 128 x 128 (FP8_BLOCK)",
        .layouts = "compressed-tensors",
        .sqnr_db_normal = 31.55,
        VIVA_METHOD_FUNCTIONS(fp8, block_),
        .sqnr_db_theory = normal_theory::fp8_block,
    },
    {
        .name = "nvfp4",
        .summary = "4-bit floats E2M1, an E4M3 scale per 16 and one of the tensor (NVFP4A16)",
        .layouts = "compressed-tensors",
        .cols_multiple = nvfp4::block_values,
        .sqnr_db_normal = 20.43,
        VIVA_METHOD_FUNCTIONS(nvfp4, ),
        .survey_run = survey_magnitude,
        .survey_finish = nvfp4::survey_finish,
        .numbers_shared = true,
        .sqnr_db_theory = normal_theory::nvfp4,
    },
    {
        .name = "nvfp4-four-or-six",
        .summary = "nvfp4 whose blocks map their maximum to 4 or 6, whichever errs less",
        .layouts = "compressed-tensors",
        .cols_multiple = nvfp4::block_values,
        .sqnr_db_normal = 21.21,
        .shape = nvfp4::shape,
        .encode_reference = nvfp4_four_or_six::encode_reference,
        .encode_simd = nvfp4_four_or_six::encode_simd,
        .decode_reference = nvfp4::decode_reference,
        .decode_simd = nvfp4::decode_simd,
        .survey_run = survey_magnitude,
        .survey_finish = nvfp4_four_or_six::survey_finish,
        .numbers_shared = true,
        .sqnr_db_theory = normal_theory::nvfp4_four_or_six,
    },
    {
        .name = "nvfp4-ggml",
        .summary = "GGUF NVFP4: 4-bit floats E2M1, one E4M3 scale per 16",
        .layouts = "safetensors",
        .cols_multiple = nvfp4_ggml::block_values,
        .sqnr_db_normal = 20.43,
        VIVA_METHOD_FUNCTIONS(nvfp4_ggml, ),
        .sqnr_db_theory = normal_theory::nvfp4_ggml,
    },
    {
        .name = "mxfp4",
        .summary = "4-bit floats E2M1, a power of two per block of 32 (MXFP4A16)",
        .layouts = "compressed-tensors",
        .cols_multiple = mxfp4::block_values,
        .sqnr_db_normal = 19.03,
        VIVA_METHOD_FUNCTIONS(mxfp4, ),
        .sqnr_db_theory = normal_theory::mxfp4,
    },
    {
        .name = "mxfp4-ggml",
        .summary = "GGUF MXFP4: 4-bit floats E2M1, a power of two per block of 32",
        .layouts = "safetensors",
        .cols_multiple = mxfp4_ggml::block_values,
        .sqnr_db_normal = 18.78,
        VIVA_METHOD_FUNCTIONS(mxfp4_ggml, ),
        .sqnr_db_theory = normal_theory::mxfp4_ggml,
    },
    {
        .name = "awq",
        .summary = "4-bit integers with zero points, scaled by what goes in (AutoAWQ GEMM)",
        .layouts = "awq",
        .options = "group=32|64|128, no-clip, no-scale, rtn",
        .cols_multiple = 32,
        .sqnr_db_normal = 20.34,
        .rules = awq_options,
        VIVA_METHOD_FUNCTIONS(awq, ),
        .sqnr_db_theory = normal_theory::awq,
    },
    {
        .name = "q4_1",
        .summary = "GGUF Q4_1: 4-bit integers, an f16 scale and minimum per block of 32",
        .layouts = "safetensors",
        .cols_multiple = ggml_block_values,
        .sqnr_db_normal = 22.13,
        .rules = ggml_options,
        VIVA_METHOD_FUNCTIONS(q4_1, ),
        .sqnr_db_theory = normal_theory::q4_1,
    },
    {
        .name = "q5_0",
        .summary = "GGUF Q5_0: 5-bit integers, one f16 scale per block of 32",
        .layouts = "safetensors",
        .cols_multiple = ggml_block_values,
        .sqnr_db_normal = 27.39,
        .rules = ggml_options,
        VIVA_METHOD_FUNCTIONS(q5_0, ),
        .sqnr_db_theory = normal_theory::q5_0,
    },
    {
        .name = "q5_1",
        .summary = "GGUF Q5_1: 5-bit integers, an f16 scale and minimum per block of 32",
        .layouts = "safetensors",
        .cols_multiple = ggml_block_values,
        .sqnr_db_normal = 28.44,
        .rules = ggml_options,
        VIVA_METHOD_FUNCTIONS(q5_1, ),
        .sqnr_db_theory = normal_theory::q5_1,
    },
    {
        .name = "sparse24",
        .summary = "2 of 4 values kept: the values and a bitmask",
        .layouts = "safetensors",
        .cols_multiple = 4,
        .sqnr_db_normal = 8.79,
        VIVA_METHOD_FUNCTIONS(sparse24, ),
        .sqnr_db_theory = normal_theory::sparse24,
    },
    {
        .name = "sparse24-dense",
        .summary = "2 of 4 values kept, zeros between them: files like any other",
        .layouts = "dense",
        .cols_multiple = 4,
        .sqnr_db_normal = 8.79,
        VIVA_METHOD_FUNCTIONS(sparse24, dense_),
        .sqnr_db_theory = normal_theory::sparse24,
    },
    {
        .name = "sparse24-cutlass",
        .summary = "2 of 4 values kept: the values and CUTLASS metadata in slabs of 64 rows",
        .layouts = "safetensors",
        .cols_multiple = 32,
        .sqnr_db_normal = 8.79,
        VIVA_METHOD_FUNCTIONS(sparse24_cutlass, ),
        .sqnr_db_theory = normal_theory::sparse24,
    },
    {
        .name = "sparse24+int8",
        .summary = "2 of 4 values kept, those as int8",
        .layouts = "safetensors",
        .cols_multiple = 4,
        .sqnr_db_normal = 8.79,
        VIVA_METHOD_FUNCTIONS(sparse24_stack, ),
        .sqnr_db_theory = normal_theory::sparse24_int8,
    },
    {
        .name = "sparse24-cutlass+int8",
        .summary = "2 of 4 values kept, those as int8; CUTLASS metadata in slabs of 64 rows",
        .layouts = "safetensors",
        .cols_multiple = 64,
        .sqnr_db_normal = 8.79,
        VIVA_METHOD_FUNCTIONS(sparse24_stack, ),
        .sqnr_db_theory = normal_theory::sparse24_int8,
    },
    {
        .name = "sparse24+nf4",
        .summary = "2 of 4 values kept, those as nf4",
        .layouts = "safetensors",
        .options = "block=32|64|128|256|512|1024|2048|4096",
        .cols_multiple = 4,
        .sqnr_db_normal = 8.59,
        .rules = nf4_options,
        VIVA_METHOD_FUNCTIONS(sparse24_stack, ),
        .sqnr_db_theory = normal_theory::sparse24_nf4,
    },
    {
        .name = "sparse24+nf4-dq",
        .summary = "2 of 4 values kept, those as nf4-dq",
        .layouts = "safetensors",
        .options = "block=32|64|128|256|512|1024|2048|4096",
        .cols_multiple = 4,
        .sqnr_db_normal = 8.59,
        .rules = nf4_options,
        VIVA_METHOD_FUNCTIONS(sparse24_stack, ),
        .sqnr_db_theory = normal_theory::sparse24_nf4,
    },
    {
        .name = "sparse24+int4",
        .summary = "2 of 4 values kept, those as int4",
        .layouts = "safetensors",
        .options = "group=128|64|32, asym, search, absmax",
        .cols_multiple = std::uint64_t{2} * group_sizes[0],
        .sqnr_db_normal = 8.55,
        .rules = int4_options,
        VIVA_METHOD_FUNCTIONS(sparse24_stack, ),
        .sqnr_db_theory = normal_theory::sparse24_int4,
    },
};

#undef VIVA_METHOD_FUNCTIONS

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
