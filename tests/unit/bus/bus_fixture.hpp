// A bus server on a real Unix socket in a folder of its own, its loop driven by the test; and a raw client that can
// misbehave. No sleeps: everything waits for a condition with a deadline.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "lbcluster/bus/frame.hpp"
#include "lbcluster/bus/server.hpp"

namespace lbcluster::bus {

inline Item item_of(const std::string& key, const std::string& text) {
    Item item;
    item.set_key(key);
    item.mutable_event()->set_text(text);
    return item;
}

// Bytes in and out, non-blocking; knows nothing of the rules.
class RawClient {
  public:
    explicit RawClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    }
    ~RawClient() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;
    RawClient(RawClient&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)),
          connected_(other.connected_),
          closed_(other.closed_),
          decoder_(std::move(other.decoder_)) {}
    RawClient& operator=(RawClient&&) = delete;

    [[nodiscard]] bool connected() const { return connected_; }
    bool send(std::string_view bytes) const {
        return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
    }
    bool send(const Frame& frame) const { return send(encode_frame(frame).value()); }
    bool hello(std::uint32_t protocol = protocol_version) const {
        Frame frame;
        frame.mutable_hello()->set_protocol(protocol);
        frame.mutable_hello()->set_program("test");
        return send(frame);
    }
    bool watch(const std::string& prefix = "") const {
        Frame frame;
        frame.mutable_watch()->set_prefix(prefix);
        return send(frame);
    }
    bool activate(std::uint64_t id) const {
        Frame frame;
        frame.mutable_call()->set_id(id);
        frame.mutable_call()->mutable_activate();
        return send(frame);
    }
    // What has arrived; nothing if no whole frame has.
    std::optional<Frame> poll() {
        std::array<char, 65536> input;
        const ssize_t n = ::recv(fd_, input.data(), input.size(), 0);
        if (n > 0) {
            decoder_.append({input.data(), static_cast<std::size_t>(n)});
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            closed_ = true;
        }
        return decoder_.next().value();
    }
    [[nodiscard]] bool closed() const { return closed_; }

  private:
    int fd_;
    bool connected_ = false;
    bool closed_ = false;
    FrameDecoder decoder_;
};

class BusTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = "/tmp/lbcluster-bus-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        path_ = folder_ + "/heartbeatd.sock";
    }
    void TearDown() override {
        server_.reset();
        std::filesystem::remove_all(folder_);
    }

    void start_server(const std::string& group = "") {
        server_ = std::make_unique<Server>(io_, Server::Options{path_, "heartbeatd", "0.1.0", group});
        const auto listening = server_->listen();
        ASSERT_TRUE(listening.ok()) << listening.error().message;
    }
    // Runs the loop until `done`; false if that has not come in 10 s.
    bool run_until(const std::function<bool()>& done) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
        while (!done()) {
            if (std::chrono::steady_clock::now() > deadline) {
                return false;
            }
            io_.restart();
            io_.run_one_for(std::chrono::milliseconds{5});
        }
        return true;
    }
    // The next frame of that client, while the loop runs; an empty one if none came.
    Frame next_frame(RawClient& client) {
        std::optional<Frame> frame;
        run_until([&] {
            frame = client.poll();
            return frame || client.closed();
        });
        return frame.value_or(Frame{});
    }
    bool ends_closed(RawClient& client) {
        return run_until([&] {
            client.poll();
            return client.closed();
        });
    }
    // A blocking function on another thread while the loop runs here.
    template <class F>
    auto beside(F function) {
        auto result = std::async(std::launch::async, std::move(function));
        EXPECT_TRUE(run_until([&] { return result.wait_for(std::chrono::seconds{0}) == std::future_status::ready; }));
        return result.get();
    }

    std::string folder_;
    std::string path_;
    boost::asio::io_context io_{1};
    std::unique_ptr<Server> server_;
};

}  // namespace lbcluster::bus
