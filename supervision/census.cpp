#include "supervision/census.hpp"

#include "supervision/spawn.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

namespace viva::supervision {
namespace {

nlohmann::json json_of(const tree& node) {
  nlohmann::json json{
    {"id", node.id},
    {"type", node.type == child_type::worker ? "worker" : "supervisor"},
    {"state", to_string(node.state)},
    {"pid", node.pid},
    {"restarts", node.restarts},
    {"age_ms", node.age.count()},
    {"last_reason", node.last_reason},
  };
  json["process"] = node.process > 0 ? nlohmann::json(node.process) : nlohmann::json(nullptr);
  json["mailbox"] = node.mailbox ? nlohmann::json(*node.mailbox) : nlohmann::json(nullptr);
  json["children"] = nlohmann::json::array();
  for (const auto& child : node.children)
    json["children"].push_back(json_of(child));
  return json;
}

void append_lines(std::string& text, const tree& node, const std::string& indent) {
  const auto left = indent + node.id;
  text += fmt::format("{:<36} {:<10} pid {:<6} restarts {:<4} mailbox {:<6} {:>8.1f} s", left,
                      to_string(node.state), node.pid, node.restarts,
                      node.mailbox ? std::to_string(*node.mailbox) : "-",
                      static_cast<double>(node.age.count()) / 1000.0);
  if (node.process > 0)
    text += "  process " + std::to_string(node.process);
  if (!node.last_reason.empty())
    text += "  last: " + node.last_reason;
  text += '\n';
  for (const auto& child : node.children)
    append_lines(text, child, indent + "  ");
}

void look_at(tree& node, const caf::actor_addr& who) {
  const auto alive = caf::actor_cast<caf::strong_actor_ptr>(who);
  if (!alive)
    return;
  node.pid = alive->id();
  if (const auto* signs = dynamic_cast<const vital_signs*>(alive->get())) {
    node.mailbox = signs->mailbox_depth();
    node.process = signs->process();
  }
}

} // namespace

std::string_view to_string(life state) noexcept {
  constexpr std::array<std::string_view, 5> words{"down", "starting", "up", "stopping",
                                                  "restarting"};
  return words.at(static_cast<std::size_t>(state));
}

census_entry& census_page::insert(std::uint64_t serial, census_entry entry) {
  std::lock_guard lock{x_guard};
  return x_entries.emplace_hint(x_entries.end(), serial, std::move(entry))->second;
}

void census_page::erase(std::uint64_t serial) {
  std::lock_guard lock{x_guard};
  x_entries.erase(serial);
}

void census::enter(std::shared_ptr<census_page> page) {
  std::lock_guard lock{x_guard};
  x_pages.push_back(std::move(page));
}

void census::leave(const std::shared_ptr<census_page>& page) {
  std::lock_guard lock{x_guard};
  std::erase(x_pages, page);
}

// Copies every page under its own lock first, then links them: a child that is itself a supervisor
// is known by its actor id. A page nobody claims is a root.
std::vector<tree> census::dump(time_point now) const {
  std::vector<std::shared_ptr<census_page>> all;
  {
    std::lock_guard lock{x_guard};
    all = x_pages;
  }
  std::unordered_map<caf::actor_id, std::vector<census_entry>> entries;
  std::unordered_set<caf::actor_id> claimed;
  for (const auto& page : all) {
    auto& copy = entries[page->x_who.id()];
    std::lock_guard lock{page->x_guard};
    for (const auto& [serial, entry] : page->x_entries) {
      copy.push_back(entry);
      if (entry.who)
        claimed.insert(entry.who.id());
    }
  }
  // Pages are entered by parents before their children, so depth is bounded and acyclic.
  const auto grow = [&](const auto& self, tree& node, caf::actor_id id) -> void {
    const auto found = entries.find(id);
    if (found == entries.end())
      return;
    for (const auto& entry : found->second) {
      tree child{.id = entry.id, .type = entry.type, .state = entry.state,
                 .restarts = entry.restarts};
      child.age = std::chrono::floor<milliseconds>(now - entry.since);
      if (entry.last_reason || entry.restarts > 0)
        child.last_reason = to_text(entry.last_reason);
      if (entry.who) {
        look_at(child, entry.who);
        self(self, child, entry.who.id());
      }
      node.children.push_back(std::move(child));
    }
  };
  std::vector<tree> roots;
  for (const auto& page : all) {
    if (claimed.contains(page->x_who.id()))
      continue;
    tree root{.id = page->x_name, .type = child_type::supervisor, .state = life::up};
    root.age = std::chrono::floor<milliseconds>(now - page->x_since);
    look_at(root, page->x_who);
    grow(grow, root, page->x_who.id());
    roots.push_back(std::move(root));
  }
  return roots;
}

std::string to_text(const std::vector<tree>& roots) {
  std::string text;
  for (const auto& root : roots)
    append_lines(text, root, "");
  return text;
}

std::string to_json(const std::vector<tree>& roots) {
  auto json = nlohmann::json::array();
  for (const auto& root : roots)
    json.push_back(json_of(root));
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace viva::supervision
