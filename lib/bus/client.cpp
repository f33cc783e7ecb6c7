#include "lbcluster/bus/client.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <utility>

#include "lbcluster/bus/credentials.hpp"
#include "lbcluster/bus/frame.hpp"

namespace lbcluster::bus {
namespace {

using boost::asio::local::stream_protocol;
using boost::system::error_code;
using std::chrono::milliseconds;

constexpr auto snapshot_time_max = std::chrono::seconds{5};  // from connecting to a whole snapshot
constexpr int frames_per_read_max = 64;                      // more than one read can hold in whole large frames

}  // namespace

class Client::Impl : public std::enable_shared_from_this<Client::Impl> {
  public:
    Impl(boost::asio::io_context& io, Options options)
        : options_(std::move(options)), socket_(io), retry_(io), deadline_(io), backoff_(options_.backoff_min) {}

    void start();
    void close();

    std::function<void(const State&)> on_snapshot_;
    std::function<void(const std::vector<Item>&)> on_update_;
    std::function<void(const Error&)> on_lost_;
    State state_;
    bool stale_ = true;
    std::string server_version_;

  private:
    // Each connection has a number; what an older one still delivers is ignored.
    [[nodiscard]] bool current(std::uint64_t connection) const { return running_ && connection == connection_; }
    void connect();
    void greet(std::uint64_t connection);
    void read(std::uint64_t connection);
    void process(std::uint64_t connection);
    // False if the connection is of no use any more.
    bool handle(const Frame& frame);
    bool handle_hello(const Hello& hello);
    void handle_snapshot(const Snapshot& snapshot);
    void handle_update(const Update& update);
    bool within_bounds(const Item& item);
    void lost(const Error& error);

    Options options_;
    stream_protocol::socket socket_;
    boost::asio::steady_timer retry_;
    boost::asio::steady_timer deadline_;
    milliseconds backoff_;
    bool running_ = false;
    std::uint64_t connection_ = 0;
    bool greeted_ = false;
    std::array<char, 65536> input_{};
    std::string output_;
    FrameDecoder decoder_;
    State incoming_;  // of a snapshot that is not whole
    std::size_t state_bytes_ = 0;
};

void Client::Impl::start() {
    if (!std::exchange(running_, true)) {
        connect();
    }
}

void Client::Impl::close() {
    running_ = false;
    ++connection_;
    stale_ = true;
    error_code ignored;
    socket_.close(ignored);
    retry_.cancel();
    deadline_.cancel();
    on_snapshot_ = nullptr;
    on_update_ = nullptr;
    on_lost_ = nullptr;
}

void Client::Impl::connect() {
    const std::uint64_t connection = ++connection_;
    decoder_ = FrameDecoder{};
    incoming_.clear();
    state_bytes_ = 0;
    greeted_ = false;
    if (options_.path.size() >= stream_protocol::endpoint().capacity() - 2) {
        return lost({options_.path + " is too long for a socket", "choose a shorter --run-dir", ENAMETOOLONG});
    }
    deadline_.expires_after(snapshot_time_max);
    deadline_.async_wait([self = shared_from_this(), connection](error_code error) {
        if (!error && self->current(connection)) {
            self->lost({self->options_.path + " gave no snapshot in time", "", ETIMEDOUT});
        }
    });
    socket_.async_connect(stream_protocol::endpoint(options_.path), [self = shared_from_this(),
                                                                     connection](error_code error) {
        if (!self->current(connection)) {
            return;
        }
        if (error) {
            return self->lost({"cannot connect to " + self->options_.path + ": " + error.message(), "", error.value()});
        }
        self->greet(connection);
    });
}

void Client::Impl::greet(std::uint64_t connection) {
    const auto peer = peer_credentials(socket_.native_handle());
    if (!peer.ok() || !peer.value().trusted()) {
        return lost({options_.path + " is not served by root", "", EACCES});
    }
    Frame hello;
    hello.mutable_hello()->set_protocol(protocol_version);
    hello.mutable_hello()->set_program(options_.program);
    hello.mutable_hello()->set_version(options_.version);
    Frame watch;
    watch.mutable_watch()->set_prefix(options_.prefix);
    const auto first = encode_frame(hello);
    const auto second = encode_frame(watch);
    LBC_ASSERT(first.ok() && second.ok());
    output_ = first.value() + second.value();
    boost::asio::async_write(socket_, boost::asio::buffer(output_),
                             [self = shared_from_this()](error_code /*error*/, std::size_t /*bytes*/) {
                                 // A failed write shows in the read, with what the server said before it closed.
                             });
    read(connection);
}

void Client::Impl::read(std::uint64_t connection) {
    socket_.async_read_some(
        boost::asio::buffer(input_), [self = shared_from_this(), connection](error_code error, std::size_t bytes) {
            if (!self->current(connection)) {
                return;
            }
            if (error) {
                return self->lost({self->options_.path + ": " + error.message(), "", error.value()});
            }
            self->decoder_.append({self->input_.data(), bytes});
            self->process(connection);
        });
}

void Client::Impl::process(std::uint64_t connection) {
    for (int i = 0; decoder_.ready(); ++i) {
        const auto frame = decoder_.next();
        if (!frame.ok()) {
            return lost({options_.path + ": " + frame.error().message, "", frame.error().code});
        }
        if (!handle(**frame) || !current(connection)) {
            return;
        }
        if (i >= frames_per_read_max) {
            return boost::asio::post(socket_.get_executor(), [self = shared_from_this(), connection] {
                if (self->current(connection)) {
                    self->process(connection);
                }
            });
        }
    }
    (void)decoder_.next();  // gives back the memory of what is done
    read(connection);
}

bool Client::Impl::handle(const Frame& frame) {
    if (!greeted_) {
        if (!frame.has_hello()) {
            lost({options_.path + ": the first frame is not a hello", "", EPROTO});
            return false;
        }
        return handle_hello(frame.hello());
    }
    if (frame.has_reply()) {
        lost({frame.reply().message(), frame.reply().hint(), EACCES});
        return false;
    }
    for (const auto* items : {&frame.snapshot().items(), &frame.update().items()}) {
        if (!std::all_of(items->begin(), items->end(), [this](const Item& item) { return within_bounds(item); })) {
            lost({options_.path + ": more state than this program keeps", "", EMSGSIZE});
            return false;
        }
    }
    if (frame.has_snapshot()) {
        handle_snapshot(frame.snapshot());
    } else if (frame.has_update()) {
        handle_update(frame.update());
    }
    return true;
}

bool Client::Impl::handle_hello(const Hello& hello) {
    if (hello.protocol() != protocol_version) {
        lost({options_.path + " speaks bus protocol " + std::to_string(hello.protocol()),
              "use the same version of lbcluster for all programs", EPROTONOSUPPORT});
        return false;
    }
    greeted_ = true;
    server_version_ = hello.version();
    return true;
}

// Counts both what is kept and what comes in its place while a snapshot arrives; an upper limit, not an account.
bool Client::Impl::within_bounds(const Item& item) {
    if (state_.size() + incoming_.size() > 2 * items_max) {
        return false;
    }
    const auto known = state_.find(item.key());
    const std::size_t before = known == state_.end() || stale_ ? 0 : known->second.ByteSizeLong();
    state_bytes_ += item.removed() ? 0 : item.ByteSizeLong();
    state_bytes_ -= std::min(state_bytes_, before);
    return state_bytes_ <= state_bytes_max;
}

void Client::Impl::handle_snapshot(const Snapshot& snapshot) {
    for (const auto& item : snapshot.items()) {
        incoming_[item.key()] = item;
    }
    if (!snapshot.last()) {
        return;
    }
    state_ = std::exchange(incoming_, {});
    stale_ = false;
    backoff_ = options_.backoff_min;
    deadline_.cancel();
    state_bytes_ = 0;
    for (const auto& [key, item] : state_) {
        state_bytes_ += item.ByteSizeLong();
    }
    if (const auto handler = on_snapshot_) {  // a copy: the handler may call close()
        handler(state_);
    }
}

void Client::Impl::handle_update(const Update& update) {
    std::vector<Item> items(update.items().begin(), update.items().end());
    for (const auto& item : items) {
        if (item.removed()) {
            state_.erase(item.key());
        } else {
            state_[item.key()] = item;
        }
    }
    if (const auto handler = on_update_) {
        handler(items);
    }
}

void Client::Impl::lost(const Error& error) {
    ++connection_;
    error_code ignored;
    socket_.close(ignored);
    deadline_.cancel();
    const bool was_up = !std::exchange(stale_, true);
    retry_.expires_after(backoff_);
    backoff_ = std::min(backoff_ * 2, options_.backoff_max);
    retry_.async_wait([self = shared_from_this()](error_code stopped) {
        if (!stopped && self->running_) {
            self->connect();
        }
    });
    if (const auto handler = on_lost_; was_up && handler) {
        handler(error);
    }
}

Client::Client(boost::asio::io_context& io, Options options) : impl_(std::make_shared<Impl>(io, std::move(options))) {}
Client::~Client() { impl_->close(); }
void Client::on_snapshot(std::function<void(const State&)> handler) { impl_->on_snapshot_ = std::move(handler); }
void Client::on_update(std::function<void(const std::vector<Item>&)> handler) {
    impl_->on_update_ = std::move(handler);
}
void Client::on_lost(std::function<void(const Error&)> handler) { impl_->on_lost_ = std::move(handler); }
void Client::start() { impl_->start(); }
void Client::close() { impl_->close(); }
const Client::State& Client::state() const { return impl_->state_; }
bool Client::stale() const { return impl_->stale_; }
const std::string& Client::server_version() const { return impl_->server_version_; }

}  // namespace lbcluster::bus
