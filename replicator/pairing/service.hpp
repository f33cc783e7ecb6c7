// The side of a pairing that is asked: answers the calls of one stream in turn. Nothing is changed before the commit;
// that checks again what was prepared, and takes back what it did if it fails. One pairing at a time.
//
// One thread, the io_context's, and one for the disk. The service must go before the io_context, and not before that
// has stopped.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "lbcluster/config/paths.hpp"
#include "replicator/channel.hpp"

namespace lbcluster::replicator {

class PairingService {
  public:
    // `on_changed`: whom this node is paired with has changed, with a line for the history.
    PairingService(boost::asio::any_io_executor executor, config::Paths paths,
                   std::function<void(const std::string&)> on_changed);
    ~PairingService();  // a commit that is under way is finished
    PairingService(const PairingService&) = delete;
    PairingService& operator=(const PairingService&) = delete;

    // Whether a stream that begins with this frame is for this service.
    static bool is_call(const replica::Frame& frame);
    // Serves the stream until it ends.
    void take(std::unique_ptr<Channel> channel, replica::Frame first);

  private:
    class Call;
    boost::asio::awaitable<void> serve(std::shared_ptr<Channel> channel, replica::Frame first);

    boost::asio::any_io_executor executor_;
    boost::asio::thread_pool files_{1};
    config::Paths paths_;
    std::function<void(const std::string&)> on_changed_;
    std::shared_ptr<Channel> serving_;
};

}  // namespace lbcluster::replicator
