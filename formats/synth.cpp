#include "formats/synth.hpp"

#include "formats/layout.hpp"
#include "formats/synth_folder.hpp"
#include "formats/synth_model.hpp"
#include "formats/synth_values.hpp"

#include <algorithm>
#include <cstdio>
#include <thread>

namespace viva::formats {

namespace {

constexpr std::uint64_t bytes_min = 1ull << 20, bytes_max = 4ull << 40;
constexpr std::uint64_t chunk_bytes = 2ull << 20; // of one write
constexpr unsigned threads_max = 16;

/// One write: some rows of a tensor.
struct chunk {
  std::size_t tensor = 0;
  std::uint64_t first = 0, rows = 0;
};

/// The model laid out: files with headers, tensors with offsets, chunks of work.
struct layout_of_synth {
  std::vector<synth_tensor> tensors;
  std::vector<row_source> sources;
  std::vector<out_file> files;
  std::vector<chunk> chunks;
  std::uint64_t bytes = 0; ///< Of all tensors.
};

std::string file_name(std::uint32_t file, std::uint32_t files) {
  if (files == 1)
    return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", file + 1, files);
  return name;
}

/// Settles every offset of one file.
out_file lay_file(std::vector<synth_tensor>& tensors, std::uint32_t file, std::uint32_t files) {
  out_file out{
      .name = file_name(file, files), .header = {}, .tensors = {}, .bytes = 0, .scales = {}};
  std::vector<tensor_entry> entries;
  for (const auto& tensor : tensors)
    if (tensor.file == file)
      entries.push_back(tensor.entry);
  out.header = lay_header(entries, {{"format", "pt"}});
  out.bytes = entries.back().end;
  const auto name_of = [](const synth_tensor& t) -> const std::string& { return t.entry.name; };
  for (auto& entry : entries) {
    std::ranges::find(tensors, entry.name, name_of)->entry = entry;
    out.tensors.push_back({.entry = std::move(entry), .source = {}, .bytes = {}});
  }
  return out;
}

layout_of_synth lay(const synth_options& options, std::vector<synth_tensor> tensors) {
  layout_of_synth all{.tensors = std::move(tensors), .sources = {}, .files = {}, .chunks = {}};
  for (std::uint32_t file = 0; file < options.shards; ++file)
    all.files.push_back(lay_file(all.tensors, file, options.shards));
  for (std::size_t t = 0; t < all.tensors.size(); ++t) {
    const auto& source =
        all.sources.emplace_back(all.tensors[t], t, options.seed, options.outliers);
    const auto step = std::max<std::uint64_t>(1, chunk_bytes / source.row_bytes());
    for (std::uint64_t row = 0; row < source.rows(); row += step)
      all.chunks.push_back({t, row, std::min(step, source.rows() - row)});
    all.bytes += all.tensors[t].entry.bytes();
  }
  return all;
}

/// What the threads share while values are written.
struct writing {
  const std::atomic<bool>* interrupted = nullptr;
  std::atomic<std::size_t> next{0}; ///< Chunk.
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<int> code{0}; ///< Of the first failure.
  std::atomic<std::uint32_t> failed_file{0};

  bool stopped() const {
    return code.load(std::memory_order_relaxed) != 0
           || (interrupted != nullptr && interrupted->load(std::memory_order_relaxed));
  }
};

tl::unexpected<error> interruption() {
  return fail(errc::interrupted, "interrupted; nothing was left behind");
}

/// Takes chunks until none are left or one failed; `after` is called after each.
template <class After>
void write_chunks(const layout_of_synth& all, const std::vector<partial_file>& files,
                  writing& shared, After&& after) {
  std::vector<std::byte> buffer;
  for (;;) {
    const auto at = shared.next.fetch_add(1, std::memory_order_relaxed);
    if (at >= all.chunks.size() || shared.stopped())
      return;
    const auto& part = all.chunks[at];
    const auto& tensor = all.tensors[part.tensor];
    const auto& source = all.sources[part.tensor];
    const auto count = part.rows * source.row_bytes();
    buffer.resize(std::max<std::size_t>(buffer.size(), count));
    source.fill(part.first, part.rows, buffer.data());
    const int code = files[tensor.file].write(tensor.entry.begin + part.first * source.row_bytes(),
                                              reinterpret_cast<const char*>(buffer.data()), count);
    if (int none = 0; code != 0 && shared.code.compare_exchange_strong(none, code))
      shared.failed_file = tensor.file;
    shared.bytes.fetch_add(count, std::memory_order_relaxed);
    after();
  }
}

expected<void> write_values(const layout_of_synth& all, const std::vector<partial_file>& files,
                            const std::function<void(std::uint64_t, std::uint64_t)>& on_progress,
                            const std::atomic<bool>* interrupted) {
  writing shared;
  shared.interrupted = interrupted;
  {
    const auto threads = std::clamp<std::size_t>(
        std::min<std::size_t>(std::thread::hardware_concurrency(), all.chunks.size()), 1,
        threads_max);
    std::vector<std::jthread> others; // joined at the end of the block
    for (std::size_t i = 1; i < threads; ++i)
      others.emplace_back([&] { write_chunks(all, files, shared, [] {}); });
    write_chunks(all, files, shared, [&] {
      if (on_progress)
        on_progress(shared.bytes.load(std::memory_order_relaxed), all.bytes);
    });
  }
  if (shared.code != 0)
    return cannot("write", files[shared.failed_file].partial(), shared.code);
  if (shared.stopped())
    return interruption();
  if (on_progress)
    on_progress(all.bytes, all.bytes);
  return {};
}

expected<void> check(const synth_options& options, std::size_t tensors) {
  if (options.bytes < bytes_min || options.bytes > bytes_max)
    return fail(errc::bad_option, "--size is " + std::to_string(options.bytes)
                                      + " bytes; it must be from 1 MiB to 4 TiB");
  if (options.shards == 0 || options.shards > std::min<std::size_t>(tensors, 99999))
    return fail(errc::bad_option, "--shards is " + std::to_string(options.shards)
                                      + "; a model of this size has " + std::to_string(tensors)
                                      + " tensors, so it can be from 1 to "
                                      + std::to_string(std::min<std::size_t>(tensors, 99999)));
  return {};
}

} // namespace

expected<void> synthesize(const synth_options& options,
                          std::function<void(std::uint64_t, std::uint64_t)> on_progress,
                          const std::atomic<bool>* interrupted) {
  const auto model =
      shape_for(std::clamp(options.bytes, bytes_min, bytes_max) / kernels::bytes_of(options.dtype));
  auto tensors = tensors_of(model, options.dtype, std::max(1u, options.shards));
  if (auto good = check(options, tensors.size()); !good)
    return good;
  auto folder = synth_folder::take(options.output, options.overwrite);
  if (!folder)
    return tl::unexpected(folder.error());
  const auto all = lay(options, std::move(tensors));

  std::vector<text_file> texts = {{"config.json", config_text(model, options.dtype)},
                                  {"generation_config.json", generation_config_text()}};
  if (options.shards > 1)
    texts.push_back({"model.safetensors.index.json", index_text(all.files)});
  std::vector<partial_file> files; // the weights, then the texts
  for (const auto& file : all.files)
    files.emplace_back(options.output / file.name);
  for (const auto& text : texts)
    files.emplace_back(options.output / text.name);

  for (std::size_t f = 0; f < files.size(); ++f) {
    const bool weights = f < all.files.size();
    const auto& text = weights ? all.files[f].header : texts[f - all.files.size()].text;
    if (auto made = files[f].make(weights ? all.files[f].bytes : text.size()); !made)
      return made;
    if (const int code = files[f].write(0, text.data(), text.size()); code != 0)
      return cannot("write", files[f].partial(), code);
  }
  if (auto written = write_values(all, files, on_progress, interrupted); !written)
    return written;
  for (const auto& file : files) {
    if (interrupted != nullptr && *interrupted)
      return interruption();
    if (auto durable = file.sync(); !durable)
      return durable;
  }
  return folder->publish(files);
}

} // namespace viva::formats
