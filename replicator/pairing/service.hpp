// The side of a pairing that is asked: answers the calls of one stream in turn. Nothing is changed before the commit;
// that checks again what was prepared, and takes back what it did if it fails. One pairing at a time.
//
// One thread, the io_context's; the disk is left to `files`. The service must outlive its coroutines.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <string>

#include "lbcluster/config/paths.hpp"
#include "replicator/channel.hpp"

namespace lbcluster::replicator {

class PairingService {
  public:
    // `on_changed`: whom this node is paired with has changed, with a line for the history.
    PairingService(boost::asio::thread_pool& files, config::Paths paths,
                   std::function<void(const std::string&)> on_changed);

    // Whether a stream that begins with this frame is for this service.
    static bool is_call(const replica::Frame& frame);
    // Serves the stream until it ends.
    boost::asio::awaitable<void> serve(Channel& channel, replica::Frame first);

  private:
    class Call;

    boost::asio::thread_pool& files_;
    config::Paths paths_;
    std::function<void(const std::string&)> on_changed_;
    bool busy_ = false;
};

}  // namespace lbcluster::replicator
