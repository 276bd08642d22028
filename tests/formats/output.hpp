#pragma once

// A checkpoint quantized by hand: the layout's plan carried out with the reference kernels, so that
// formats/ is tested against real bytes without the job machinery.

#include "formats/encoded.hpp"
#include "formats/layout.hpp"
#include "kernels/convert.hpp"
#include "tests/formats/files.hpp"

#include <random>

namespace viva::formats::testing {

/// A file of near-normal values; integers and other types are left zero.
inline std::string normal_file(std::vector<tensor_entry> tensors, std::uint32_t seed,
                               const std::map<std::string, std::string>& metadata = {
                                   {"format", "pt"}}) {
  auto bytes = lay_header(tensors, metadata);
  bytes.resize(tensors.back().end);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  for (const auto& each : tensors) {
    const bool f32 = each.dtype == "F32";
    if (!f32 && each.dtype != "BF16" && each.dtype != "F16")
      continue;
    const auto type = f32                   ? kernels::dtype::f32
                      : each.dtype == "F16" ? kernels::dtype::f16
                                            : kernels::dtype::bf16;
    std::vector<float> values(each.bytes() / kernels::bytes_of(type));
    for (auto& value : values)
      value = normal(random);
    kernels::store_f32_reference(values.data(), type, values.size(),
                                 reinterpret_cast<std::byte*>(bytes.data() + each.begin));
  }
  return bytes;
}

inline const tensor_entry& entry_of(const checkpoint& c, tensor_ref at) {
  return c.files[at.file].header.tensors[at.tensor];
}

/// One choice for every quantizable tensor.
inline std::vector<choice> choose_all(const checkpoint& c, const std::string& method) {
  std::vector<choice> all;
  for (std::uint32_t f = 0; f < c.files.size(); ++f)
    for (std::uint32_t t = 0; t < c.files[f].header.tensors.size(); ++t) {
      const auto& entry = entry_of(c, {f, t});
      const auto type = entry.dtype == "F32"   ? kernels::dtype::f32
                        : entry.dtype == "F16" ? kernels::dtype::f16
                                               : kernels::dtype::bf16;
      if (quantizable(entry))
        all.push_back({{f, t}, kernels::parse_recipe(method, type).value()});
    }
  return all;
}

/// A weight encoded whole: its planes, numbers, and what it decodes to.
struct encoded_whole {
  std::vector<std::vector<std::byte>> planes;
  kernels::tensor_numbers numbers;
  std::vector<float> decoded;
};

inline std::vector<float> decode_whole(const kernels::recipe& with, std::uint64_t rows,
                                       std::uint64_t cols, const kernels::tensor_numbers& numbers,
                                       const std::vector<const std::byte*>& planes) {
  std::vector<float> values(rows * cols);
  if (!with.row->decode_reference(with, rows, cols, numbers, planes, values.data()))
    throw std::runtime_error("decode refused");
  return values;
}

inline encoded_whole encode_whole(const kernels::recipe& with, const kernels::matrix& in) {
  encoded_whole made;
  if (with.row->survey_run != nullptr) {
    kernels::survey found;
    if (!with.row->survey_run(with, in, found))
      throw std::runtime_error("survey refused");
    made.numbers = with.row->survey_finish(with, found);
  }
  std::vector<std::byte*> out;
  std::vector<const std::byte*> back;
  const auto shape = with.row->shape(with, in.cols);
  for (const auto& plane : shape.all())
    made.planes.emplace_back(plane.bytes(0, in.rows, in.cols));
  for (auto& plane : made.planes) {
    out.push_back(plane.data());
    back.push_back(plane.data());
  }
  if (!with.row->encode_reference(with, in, made.numbers, out))
    throw std::runtime_error("encode refused");
  made.decoded = decode_whole(with, in.rows, in.cols, made.numbers, back);
  return made;
}

/// Carries a plan out under `to`. Returns what each encoded weight decodes to, by name.
inline std::map<std::string, std::vector<float>> write_output(const checkpoint& c,
                                                              const std::vector<choice>& choices,
                                                              const out_checkpoint& out,
                                                              const std::filesystem::path& to) {
  std::vector<std::string> sources;
  for (const auto& file : c.files)
    sources.push_back(get(file.path));
  std::map<tensor_ref, encoded_whole> encoded;
  std::map<tensor_ref, kernels::recipe> recipes;
  std::map<std::string, std::vector<float>> decoded;
  for (const auto& each : choices) {
    const auto& entry = entry_of(c, each.source);
    const kernels::matrix in{
        reinterpret_cast<const std::byte*>(sources[each.source.file].data() + entry.begin),
        each.recipe.source, entry.shape[0], entry.shape[1]};
    recipes[each.source] = each.recipe;
    decoded[entry.name] = (encoded[each.source] = encode_whole(each.recipe, in)).decoded;
  }
  for (const auto& file : out.files) {
    auto bytes = file.header;
    bytes.resize(file.bytes);
    for (const auto& tensor : file.tensors) {
      using kind = out_tensor::kind;
      const auto& source = entry_of(c, tensor.source);
      std::string part = tensor.bytes;
      if (tensor.what == kind::copy)
        part = sources[tensor.source.file].substr(source.begin, source.bytes());
      if (tensor.what == kind::plane) {
        auto plane = encoded.at(tensor.source).planes.at(tensor.plane);
        if (tensor.transposed != 0)
          plane = turned(plane, plane.size() / tensor.entry.shape[0], tensor.transposed);
        part.assign(reinterpret_cast<const char*>(plane.data()), plane.size());
      }
      if (tensor.what == kind::numbers)
        part = numbers_text(tensor, recipes.at(tensor.source), source,
                            encoded.at(tensor.source).numbers);
      if (part.size() != tensor.entry.bytes())
        throw std::runtime_error(tensor.entry.name + " does not fill its place");
      bytes.replace(tensor.entry.begin, part.size(), part);
    }
    put(out.folder ? to / file.name : to, bytes);
  }
  for (const auto& text : out.texts)
    put(to / text.name, text.text);
  return decoded;
}

} // namespace viva::formats::testing
