// The report as a table, as Markdown, as JSON, and its plots as SVG.

#include "bench/report_bench.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <map>

namespace viva::bench {
namespace {

std::string escaped(const std::string& text, std::string_view special,
                    const std::map<char, std::string>& by) {
  std::string out;
  for (const char c : text)
    out += special.find(c) == special.npos ? std::string{c} : by.at(c);
  return out;
}
std::string for_markdown(const std::string& text) {
  return escaped(text, "|", {{'|', "\\|"}});
}
std::string for_xml(const std::string& text) {
  return escaped(text, "<>&\"",
                 {{'<', "&lt;"}, {'>', "&gt;"}, {'&', "&amp;"}, {'"', "&quot;"}});
}

/// Bars one above the other, the claim thin and grey under what holds.
std::string chart(const std::string& title, const std::vector<report_bar>& bars) {
  constexpr int left = 130, wide = 480, high = 34, top = 40;
  double most = 0;
  bool claims = false;
  for (const auto& each : bars) {
    most = std::max({most, each.ours, each.claimed.value_or(0)});
    claims = claims || each.claimed;
  }
  const auto width = [&](double value) { return most > 0 ? value / most * wide : 0; };
  auto out = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" "
                         "font-family=\"sans-serif\" font-size=\"12\">\n"
                         "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
                         "<text x=\"8\" y=\"22\" font-size=\"15\">{}{}</text>\n",
                         left + wide + 120, top + high * static_cast<int>(bars.size()) + 8,
                         for_xml(title), claims ? ": claims are grey" : "");
  int y = top;
  for (const auto& each : bars) {
    out += fmt::format("<text x=\"8\" y=\"{}\">{}</text>\n", y + 15, for_xml(each.label));
    if (each.ours > 0)
      out += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"16\" "
                         "fill=\"#2a6fb0\"/>\n"
                         "<text x=\"{:.1f}\" y=\"{}\">{:.2f}</text>\n",
                         left, y + 2, width(each.ours), left + width(each.ours) + 6, y + 15,
                         each.ours);
    if (each.claimed)
      out += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"6\" "
                         "fill=\"#aaaaaa\"/>\n"
                         "<text x=\"{:.1f}\" y=\"{}\" font-size=\"9\">{:.2f}</text>\n",
                         left, y + 20, width(*each.claimed), left + width(*each.claimed) + 6,
                         y + 27, *each.claimed);
    y += high;
  }
  return out + "</svg>\n";
}

} // namespace

std::string report_table(const report& r) {
  std::string out, section;
  for (const auto& [name, value] : r.machine)
    out += fmt::format("{:<10} {}\n", name, value);
  out += r.machine.empty() ? "" : "\n";
  for (const auto& row : r.rows) {
    if (row.section != section)
      out += fmt::format("{}{}\n", section.empty() ? "" : "\n", row.section);
    section = row.section;
    out += fmt::format("  {:<36} {}\n", row.what, row.ours);
    if (!row.claimed.empty())
      out += fmt::format("  {:<36}   claimed: {}\n", "", row.claimed);
    out += fmt::format("  {:<36}   {}\n", "", row.how);
  }
  return out;
}

std::string report_markdown(const report& r) {
  std::string out;
  for (const auto& [name, value] : r.machine)
    out += fmt::format("{}{}: {}", out.empty() ? "" : " · ", name, for_markdown(value));
  out += out.empty() ? "" : "\n\n";
  out += "| | | claimed | ours | how |\n|---|---|---|---|---|\n";
  for (const auto& row : r.rows)
    out += fmt::format("| {} | {} | {} | {} | {} |\n", for_markdown(row.section),
                       for_markdown(row.what), for_markdown(row.claimed), for_markdown(row.ours),
                       for_markdown(row.how));
  return out;
}

std::string report_json(const report& r) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const auto& row : r.rows)
    rows.push_back({{"section", row.section},
                    {"what", row.what},
                    {"claimed", row.claimed},
                    {"ours", row.ours},
                    {"how", row.how}});
  nlohmann::ordered_json bars = nlohmann::ordered_json::array();
  for (const auto& bar : r.bars) {
    bars.push_back({{"plot", bar.plot}, {"unit", bar.unit}, {"label", bar.label}});
    if (bar.claimed)
      bars.back()["claimed"] = *bar.claimed;
    bars.back()["ours"] = bar.ours;
  }
  nlohmann::ordered_json all;
  for (const auto& [name, value] : r.machine)
    all[name] = value;
  all["rows"] = rows;
  all["bars"] = bars;
  return all.dump(2) + "\n";
}

std::vector<std::pair<std::string, std::string>> report_plots(const report& r) {
  std::map<std::string, std::vector<report_bar>> plots;
  for (const auto& each : r.bars)
    plots[each.plot].push_back(each);
  std::vector<std::pair<std::string, std::string>> files;
  for (const auto& [name, bars] : plots)
    files.emplace_back(name + ".svg", chart(name + ", " + bars.front().unit, bars));
  return files;
}

} // namespace viva::bench
