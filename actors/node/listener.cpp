#include "actors/node/listener.hpp"

namespace viva::actors::node {

expected<std::uint16_t> listen_on(boost::asio::ip::tcp::acceptor& acceptor, const address& where) {
  using tcp = boost::asio::ip::tcp;
  boost::system::error_code problem;
  const auto number = boost::asio::ip::make_address(where.host, problem);
  tcp::endpoint at{number, where.port};
  if (problem) {
    tcp::resolver names(acceptor.get_executor());
    const auto found = names.resolve(where.host, std::to_string(where.port), problem);
    if (!problem)
      at = found.begin()->endpoint();
  }
  if (!problem)
    acceptor.open(at.protocol(), problem);
  if (!problem)
    acceptor.set_option(tcp::acceptor::reuse_address(true), problem);
  if (!problem)
    acceptor.bind(at, problem);
  if (!problem)
    acceptor.listen(boost::asio::socket_base::max_listen_connections, problem);
  if (problem)
    return fail(errc::bad_option, where.text() + ": cannot listen there: " + problem.message()
                                    + "; choose an address of this machine and a free port");
  return acceptor.local_endpoint().port();
}

} // namespace viva::actors::node
