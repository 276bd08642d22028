#include "actors/node/address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace viva::actors::node {
namespace {

constexpr std::size_t host_length_max = 253; // of a name in DNS
constexpr unsigned port_max = 65'533;        // two more belong to the node

tl::unexpected<error> refuse(std::string_view text, const std::string& why) {
  return fail(errc::bad_option, "address '" + std::string(text.substr(0, 300)) + "': " + why);
}

bool is_name(std::string_view host) {
  return std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.'
           || c == '-' || c == '_';
  });
}

bool is_ipv6(const std::string& host) {
  in6_addr ignored{};
  return ::inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

} // namespace

std::string address::text() const {
  const bool brackets = host.find(':') != std::string::npos;
  return (brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

expected<address> parse_address(std::string_view text) {
  const auto colon = text.rfind(':');
  const bool bracketed = text.starts_with('[');
  if (colon == std::string_view::npos || (bracketed && colon != text.find(']') + 1))
    return refuse(text, "is not HOST:PORT, as 10.0.0.2:4242 or [fd00::2]:4242");
  address made;
  made.host = bracketed ? text.substr(1, colon - 2) : text.substr(0, colon);
  if (!bracketed && made.host.find(':') != std::string::npos)
    return refuse(text, "an IPv6 number goes into brackets, as [fd00::2]:4242");
  const bool host_is_good = bracketed ? is_ipv6(made.host)
                                      : !made.host.empty() && made.host.size() <= host_length_max
                                          && is_name(made.host);
  if (!host_is_good)
    return refuse(text, bracketed ? "what is in brackets is no IPv6 number"
                                  : "has no host, or one with characters that no host's name has");
  const auto digits = text.substr(colon + 1);
  unsigned port = 0;
  const auto [end, problem] = std::from_chars(digits.begin(), digits.end(), port);
  if (problem != std::errc{} || end != digits.end() || port > port_max)
    return refuse(text, "the port is no number up to 65533 (a node takes the two above it, too)");
  made.port = static_cast<std::uint16_t>(port);
  return made;
}

expected<std::vector<address>> parse_addresses(const std::vector<std::string>& texts) {
  std::vector<address> all;
  for (const auto& text : texts) {
    auto one = parse_address(text);
    if (!one)
      return tl::make_unexpected(one.error());
    if (std::ranges::find(all, *one) != all.end())
      return refuse(text, "stands twice in the list; name each node once");
    all.push_back(std::move(*one));
  }
  return all;
}

bool is_loopback(const address& where) {
  in_addr four{};
  if (::inet_pton(AF_INET, where.host.c_str(), &four) == 1)
    return (ntohl(four.s_addr) >> 24) == 127;
  in6_addr six{};
  if (::inet_pton(AF_INET6, where.host.c_str(), &six) == 1)
    return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
  return where.host == "localhost";
}

expected<bool> needs_tls(const std::vector<address>& all, bool certificates, bool insecure) {
  if (certificates)
    return true;
  const auto away = std::ranges::find_if_not(all, is_loopback);
  if (away == all.end() || insecure)
    return false;
  return fail(errc::bad_option,
              away->text()
                + " is not loopback, so who connects must show a certificate: give --tls DIR "
                  "(viva certs OUT makes them), or --insecure where the network is trusted");
}

} // namespace viva::actors::node
