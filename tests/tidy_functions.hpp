#pragma once

// Where functions begin and end, well enough for code in our form: a brace at namespace or class
// level whose head holds a parenthesis opens a function, whatever is inside it belongs to it.

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace viva::tests {

struct function_span {
  std::size_t line = 0;  ///< Of the first line of its head, from 1.
  std::size_t lines = 0; ///< From head to closing brace.
};

/// The text with comments, strings, characters and preprocessor lines blanked; line ends stay.
inline std::string blanked(std::string_view text) {
  std::string out(text);
  std::size_t at = 0;
  const auto blank_to = [&](std::size_t end) {
    for (end = end < out.size() ? end : out.size(); at < end; ++at)
      if (out[at] != '\n')
        out[at] = ' ';
  };
  const auto past = [&](std::string_view mark, std::size_t from) {
    const auto found = text.find(mark, from);
    return found == std::string_view::npos ? text.size() : found + mark.size();
  };
  bool line_start = true;
  while (at < out.size()) {
    const auto rest = text.substr(at);
    const char c = rest[0];
    if (rest.starts_with("//") || (line_start && c == '#')) {
      auto end = text.find('\n', at);
      while (c == '#' && end != std::string_view::npos && text[end - 1] == '\\')
        end = text.find('\n', end + 1);
      blank_to(end);
    } else if (rest.starts_with("/*")) {
      blank_to(past("*/", at + 2));
    } else if (rest.starts_with("R\"")) {
      const auto tag = rest.substr(2, rest.find('(') - 2);
      blank_to(past(")" + std::string(tag) + "\"", at));
    } else if (c == '"'
               || (c == '\''
                   && (at == 0 || !std::isalnum(static_cast<unsigned char>(text[at - 1]))))) {
      auto end = at + 1;
      while (end < text.size() && text[end] != c && text[end] != '\n')
        end += text[end] == '\\' ? 2 : 1;
      blank_to(end + 1);
    } else {
      line_start = c == '\n' || (line_start && c == ' ');
      ++at;
      continue;
    }
    line_start = false;
  }
  return out;
}

/// True where a brace after this head opens a namespace, type or extern block.
inline bool opens_scope(std::string head) {
  while (head.starts_with("template")) {
    std::size_t depth = 0, end = head.find('<');
    for (; end < head.size(); ++end) {
      depth += head[end] == '<' ? 1 : 0;
      if (head[end] == '>' && --depth == 0)
        break;
    }
    const auto next = head.find_first_not_of(" \n", end == head.size() ? end : end + 1);
    head = next == std::string::npos ? std::string() : head.substr(next);
  }
  for (const std::string_view word :
       {"namespace", "inline namespace", "struct", "class", "enum", "union", "extern"})
    if (head.starts_with(word) && head.find(") ") == std::string::npos)
      return true;
  return false;
}

/// A macro that is a whole line, MACRO(…), and ends without a semicolon.
inline bool macro_line(const std::string& head) {
  const auto open = head.find('(');
  const auto name = head.substr(0, open);
  return open != std::string::npos && head.ends_with(')')
         && name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == std::string::npos;
}

inline std::vector<function_span> functions_of(std::string_view text) {
  const auto clean = blanked(text);
  std::vector<function_span> found;
  std::string head; // what stands between the last statement's end and a brace
  std::size_t line = 1, head_line = 1;
  std::size_t scopes = 0; // open namespaces and types
  std::size_t inside = 0; // open braces of a function or an initializer, 0 at scope level
  bool function = false;
  for (const char c : clean) {
    if (c == '\n') {
      ++line;
      if (macro_line(head))
        head.clear();
    }
    if (inside > 0) {
      inside += c == '{' ? 1 : c == '}' ? -1 : 0;
      if (inside == 0 && function)
        found.back().lines = line - found.back().line + 1;
      continue;
    }
    if (c == '{') {
      const auto last = head.find_last_not_of(" \n");
      function = head.find('(') != std::string::npos && head[last] != '=';
      if (opens_scope(head)) {
        ++scopes;
      } else {
        inside = 1;
        if (function)
          found.push_back({head_line, 0});
      }
      head.clear();
    } else if (c == ';' || (c == '}' && scopes > 0)) {
      scopes -= c == '}' ? 1 : 0;
      head.clear();
    } else if (!head.empty() || !std::isspace(static_cast<unsigned char>(c))) {
      if (head.empty())
        head_line = line;
      head += c;
    }
  }
  return found;
}

} // namespace viva::tests
