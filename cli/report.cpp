#include "cli/report.hpp"

#include "cli/bytes.hpp"
#include "formats/shown.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>

namespace viva::cli {

namespace {

constexpr std::array<std::string_view, 10> columns = {"tensor",  "method",  "shape",     "bits/w",
                                                      "sqnr_db", "rmse",    "max_error", "p99",
                                                      "cosine",  "outliers"};
constexpr std::size_t columns_left = 3; ///< The first ones stand left, numbers right.
constexpr std::size_t name_columns_max = 48;

using row = std::array<std::string, columns.size()>;

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text;
  for (const auto extent : shape)
    text += fmt::format("{}{}", text.empty() ? "" : "x", extent);
  return text.empty() ? "scalar" : text;
}

/// The end of a name, which tells more than its beginning: model.layers.17.mlp.down_proj.weight.
std::string end_of(const std::string& name) {
  if (name.size() <= name_columns_max)
    return name;
  auto at = name.size() - name_columns_max + 3;
  while (at < name.size() && (static_cast<unsigned char>(name[at]) & 0xC0u) == 0x80)
    ++at; // not into a character
  return "..." + name.substr(at);
}

/// A name or note as Markdown that stands for itself, in one cell.
std::string markdown(std::string_view text) {
  std::string escaped;
  for (const char c : formats::printable(text)) {
    if (std::string_view("\\|`*<>[]").find(c) != std::string_view::npos)
      escaped += '\\';
    escaped += c;
  }
  return escaped;
}

row row_of(const tensor_report& tensor) {
  row cells;
  cells[0] = formats::printable(tensor.name);
  cells[1] = tensor.method;
  cells[2] = shape_text(tensor.shape);
  if (tensor.bits_per_weight > 0)
    cells[3] = fmt::format("{:.3f}", tensor.bits_per_weight);
  if (tensor.errors) {
    const auto& e = *tensor.errors;
    cells[4] = fmt::format("{:.2f}", e.snr_db);
    cells[5] = fmt::format("{:.3g}", e.rmse);
    cells[6] = fmt::format("{:.3g}", e.max_error);
    cells[7] = fmt::format("{:.3g}", e.p99);
    cells[8] = fmt::format("{:.6f}", e.cosine);
    cells[9] = fmt::format("{}", e.outliers);
  }
  return cells;
}

/// Tensors that were measured or changed. Copies are counted in the totals, and shown only where
/// they carry a note.
std::vector<const tensor_report*> shown(const job_report& report) {
  std::vector<const tensor_report*> result;
  for (const auto& tensor : report.tensors)
    if (tensor.errors || (!tensor.method.empty() && tensor.method != "copy")
        || !tensor.note.empty())
      result.push_back(&tensor);
  return result;
}

std::string table_text(const std::vector<row>& rows) {
  std::array<std::size_t, columns.size()> widths{};
  for (std::size_t c = 0; c < columns.size(); ++c) {
    widths[c] = columns[c].size();
    for (const auto& each : rows)
      widths[c] = std::max(widths[c], each[c].size());
  }
  std::string text;
  const auto line = [&](const auto& cells) {
    std::string out;
    for (std::size_t c = 0; c < columns.size(); ++c)
      out += c < columns_left ? fmt::format("{:<{}}  ", cells[c], widths[c])
                              : fmt::format("{:>{}}  ", cells[c], widths[c]);
    text += out.substr(0, out.find_last_not_of(' ') + 1) + '\n';
  };
  line(columns);
  for (const auto& each : rows)
    line(each);
  return text;
}

/// Why a gate failed on a tensor: its value, or why it has none.
std::string reason_of(const gate_failure& failed) {
  return failed.why.empty() ? fmt::format("{:.6g}", failed.value) : formats::printable(failed.why);
}

double compression(const job_report& report) {
  return report.output_bytes == 0
             ? 0.0
             : static_cast<double>(report.source_bytes) / static_cast<double>(report.output_bytes);
}

std::vector<std::pair<std::string, std::string>> totals(const job_report& report,
                                                        const verdict& said) {
  std::vector<std::pair<std::string, std::string>> lines;
  const bool compare = report.job == "compare";
  const auto counted = compare ? static_cast<std::size_t>(std::ranges::count_if(
                           report.tensors, [](const auto& t) { return bool(t.errors); }))
                               : shown(report).size();
  lines.emplace_back("tensors",
                     fmt::format("{} {}, {} {}", counted, compare ? "compared" : "worked on",
                                 report.tensors.size() - counted, compare ? "not" : "copied"));
  if (report.output_bytes > 0)
    lines.emplace_back("bytes",
                       fmt::format("{} -> {} ({:.2f} x smaller)", format_bytes(report.source_bytes),
                                   format_bytes(report.output_bytes), compression(report)));
  if (!said.dry_run) {
    lines.emplace_back(
        "time", fmt::format("{}, {:.2f} GB/s of source", format_seconds(report.seconds),
                            report.seconds > 0
                                ? static_cast<double>(report.source_bytes) / report.seconds / 1e9
                                : 0.0));
    lines.emplace_back("memory", fmt::format("{} at most, mapped source included",
                                             format_bytes(report.peak_rss_bytes)));
    lines.emplace_back("work",
                       fmt::format("{} shards on {} lanes, {} resumed, {} retries, {} restarts{}",
                                   report.shards, report.meters.lanes.size(), report.shards_resumed,
                                   report.retries, report.restarts,
                                   report.copies == 0 ? std::string()
                                                      : fmt::format(", {} late ones twice",
                                                                    report.copies)));
  }
  if (!report.layout.empty())
    lines.emplace_back("layout", report.layout);
  if (!report.output.empty())
    lines.emplace_back("output", formats::printable(report.output.native())
                                     + (said.dry_run ? " (not written)" : ""));
  return lines;
}

} // namespace

std::string text_report(const job_report& report, const verdict& said, std::size_t rows_max) {
  const auto tensors = shown(report);
  const auto count = rows_max == 0 ? tensors.size() : std::min(rows_max, tensors.size());
  std::vector<row> rows;
  std::string notes;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (i < count)
      rows.push_back(row_of(*tensors[i]));
    if (i < count && rows_max != 0)
      rows.back()[0] = end_of(rows.back()[0]);
    if (!tensors[i]->note.empty())
      notes += fmt::format("{}: {}\n", formats::printable(tensors[i]->name),
                           formats::printable(tensors[i]->note));
  }
  std::string text = rows.empty() ? std::string() : table_text(rows);
  if (count < tensors.size())
    text += fmt::format("... {} more, all no worse; --rows 0 or --report FILE shows every one\n",
                        tensors.size() - count);
  text += notes;
  text += '\n';
  for (const auto& [name, value] : totals(report, said))
    text += fmt::format("{:<9}{}\n", name, value);
  return text;
}

std::string markdown_report(const job_report& report, const verdict& said) {
  std::string text =
      fmt::format("# viva {}{}{}\n\n", report.job, said.method.empty() ? "" : " ", said.method);
  for (const auto& [name, value] : totals(report, said))
    text += fmt::format("- {}: {}\n", name, markdown(value));
  for (const auto& failed : said.failed)
    text += fmt::format("- **gate failed**: {} on {} ({})\n", markdown(failed.gate),
                        markdown(failed.tensor), markdown(reason_of(failed)));
  text += '\n';
  std::string rule;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    text += fmt::format("| {} ", columns[c]);
    rule += c < columns_left ? "|---" : "|---:";
  }
  text += "|\n" + rule + "|\n";
  for (const auto* tensor : shown(report)) {
    for (const auto& cell : row_of(*tensor))
      text += fmt::format("| {} ", markdown(cell));
    text += "|\n";
  }
  for (const auto* tensor : shown(report))
    if (!tensor->note.empty())
      text += fmt::format("\n- {}: {}", markdown(tensor->name), markdown(tensor->note));
  return text;
}

std::string gate_text(const verdict& said) {
  std::string text;
  for (const auto& asked : said.gates) {
    std::string names;
    std::size_t count = 0;
    for (const auto& failed : said.failed)
      if (failed.gate == asked.text && ++count <= 3)
        names += fmt::format("{}{} ({})", names.empty() ? "" : ", ",
                             formats::printable(failed.tensor), reason_of(failed));
    if (count > 3)
      names += fmt::format(" and {} more", count - 3);
    if (count > 0)
      text += fmt::format("{}gate {} holds for {}", text.empty() ? "" : "; ", asked.text, names);
  }
  return text;
}

} // namespace viva::cli
