// Certificates that `viva certs` makes, and who gets in with which.

#include "actors/node/certificates.hpp"
#include "actors/node/tls.hpp"

#include "tests/support/bulk_ground.hpp"
#include "tests/support/raw_peer.hpp"
#include "tests/support/temporary_folder.hpp"

#include <sys/stat.h>

#include <fstream>
#include <iterator>

namespace {

using namespace viva;
using namespace viva::tests;
namespace fs = std::filesystem;

bool holds(std::string_view text, std::string_view words) {
  return text.find(words) != std::string_view::npos;
}

node::tls_ptr tls_of(const fs::path& folder) {
  const auto files = node::tls_files_in(folder);
  if (!files)
    FAIL(files.error().text);
  const auto made = node::load_tls(*files);
  if (!made)
    FAIL(made.error().text);
  return *made;
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

mode_t mode_of(const fs::path& file) {
  struct stat info {};
  REQUIRE(::stat(file.c_str(), &info) == 0);
  return info.st_mode & 0777;
}

} // namespace

TEST_CASE("node tls: certificates are made once, keys for their owner alone", "[node]") {
  const temporary_folder folder;
  const auto out = folder / "certs";
  REQUIRE(node::make_certificates(out, {.names = {"coordinator", "node"}}));
  CHECK(mode_of(out / "ca.key") == 0600);
  CHECK(mode_of(out / "node" / "node.key") == 0600);
  CHECK_FALSE(fs::exists(out / "node" / "ca.key")); // a member lets nobody in
  const auto key = text_of(out / "node" / "node.key"), authority = text_of(out / "ca.pem");
  const auto again = node::make_certificates(out, {.names = {"node"}});
  REQUIRE_FALSE(again);
  CHECK(again.error().code == errc::output_exists);
  CHECK(text_of(out / "node" / "node.key") == key);
  CHECK(node::make_certificates(out, {.names = {"node-2"}})); // of the same authority
  CHECK(text_of(out / "ca.pem") == authority);
  CHECK(text_of(out / "node-2" / "ca.pem") == authority);
  CHECK(tls_of(out / "node-2"));
  fs::remove(out / "ca.key");
  const auto headless = node::make_certificates(out, {.names = {"node-3"}});
  REQUIRE_FALSE(headless);
  CHECK(holds(headless.error().text, "ca.key"));
  CHECK_FALSE(fs::exists(out / "node-3"));
}

TEST_CASE("node tls: names that leave the folder and days that nobody lives are refused",
          "[node]") {
  const temporary_folder folder;
  const auto out = folder / "certs";
  for (const std::string& name : {std::string(""), std::string(".."), std::string("a/b"),
                                  std::string("ca.key"), std::string(65, 'a')})
    CHECK_FALSE(node::make_certificates(out, {.names = {name}}));
  for (const int days : {0, -1, 3651})
    CHECK_FALSE(node::make_certificates(out, {.names = {"node"}, .days = days}));
  CHECK_FALSE(node::make_certificates(out, {.names = {}}));
  CHECK_FALSE(fs::exists(out));
}

TEST_CASE("node tls: files that cannot be right are refused before anybody connects", "[node]") {
  const temporary_folder folder;
  REQUIRE(node::make_certificates(folder / "a", {.names = {"x", "y"}}));
  REQUIRE(node::make_certificates(folder / "b", {.names = {"x"}}));
  const auto refusal = [](const node::tls_files& files) {
    const auto got = node::load_tls(files);
    return got ? std::string("taken") : got.error().text;
  };
  const auto a = folder / "a" / "x", y = folder / "a" / "y", b = folder / "b" / "x";
  CHECK(holds(refusal({b / "ca.pem", a / "node.pem", a / "node.key"}), "would be refused"));
  CHECK(holds(refusal({a / "ca.pem", a / "node.pem", y / "node.key"}), "not that of"));
  CHECK(holds(refusal({a / "node.key", a / "node.pem", a / "node.key"}), "no certificate of an"));
  CHECK(holds(refusal({a / "ca.pem", a / "node.key", a / "node.key"}), "holds no certificate"));
  const auto missing = node::tls_files_in(folder / "nowhere");
  REQUIRE_FALSE(missing);
  CHECK(holds(missing.error().text, "viva certs"));
  REQUIRE(::chmod((a / "node.key").c_str(), 0644) == 0);
  const auto open = node::tls_files_in(a);
  REQUIRE_FALSE(open);
  CHECK(holds(open.error().text, "chmod 600"));
}

TEST_CASE("node tls: members of one authority move bytes; everybody else stays outside",
          "[node]") {
  const temporary_folder folder;
  REQUIRE(node::make_certificates(folder / "ours", {.names = {"node", "coordinator"}}));
  REQUIRE(node::make_certificates(folder / "theirs", {.names = {"coordinator"}}));
  using std::chrono::milliseconds;
  bulk_ground ground({tls_of(folder / "ours" / "node"), milliseconds(300)});
  const auto source = noise(2 * node::body_bytes_max + 5, 9);
  const auto there = file_of(std::string(source.size(), '\0')), here = file_of(source);
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, node::access::write, {0, 0, source.size()});
  ground.server->allow(a_job, node::access::read, {0, 0, source.size()});

  auto stranger = ground.client({tls_of(folder / "theirs" / "coordinator"), milliseconds(2000)});
  const auto foreign = put(stranger, here, 0, {0, 0, 10});
  REQUIRE_FALSE(foreign);
  CHECK(holds(foreign.error().text, "certificates of one authority"));
  auto plain = ground.client();
  CHECK_FALSE(put(plain, here, 0, {0, 0, 10}));
  raw_peer garbage(ground.server->port());
  garbage.say(noise(500, 1));
  CHECK(garbage.is_closed());
  CHECK(ground.soon([](const auto& now) {
    return now.strangers == 3 && now.connections == 0;
  }));
  CHECK(bytes_of(there) == std::string(source.size(), '\0'));

  auto member = ground.client({tls_of(folder / "ours" / "coordinator"), milliseconds(10'000)});
  const auto back = file_of(std::string(source.size(), '\0'));
  CHECK(put(member, here, 0, {0, 0, source.size()}));
  CHECK(get(member, {0, 0, source.size()}, back, 0));
  CHECK(bytes_of(back) == source);
}

TEST_CASE("node tls: a server without a certificate of ours gets no byte", "[node]") {
  const temporary_folder folder;
  REQUIRE(node::make_certificates(folder / "ours", {.names = {"coordinator"}}));
  REQUIRE(node::make_certificates(folder / "theirs", {.names = {"node"}}));
  const auto ours = tls_of(folder / "ours" / "coordinator");
  bulk_ground impostor({tls_of(folder / "theirs" / "node"), std::chrono::milliseconds(2000)});
  impostor.server->open_job(a_job, {file_of("")});
  impostor.server->allow(a_job, node::access::write, {0, 0, 10});
  auto by = impostor.client({ours, std::chrono::milliseconds(2000)});
  const auto refused = put(by, file_of("secrets..."), 0, {0, 0, 10});
  REQUIRE_FALSE(refused);
  CHECK(holds(refused.error().text, "certificates of one authority"));
  CHECK(impostor.server->counts().bytes_in == 0);
}
