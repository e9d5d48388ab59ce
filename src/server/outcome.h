#pragma once

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace kvasir::server {

// co_await op(with(failure)): the outcome in `failure`, no exception.
inline auto with(boost::system::error_code& failure) {
  return boost::asio::redirect_error(boost::asio::use_awaitable, failure);
}

}  // namespace kvasir::server
