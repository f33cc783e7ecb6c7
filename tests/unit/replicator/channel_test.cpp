// RE-2: frames over a stream, with deadlines: whatever the other side does or does not do, every call ends in time.
#include "replicator/channel.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>

#include "replicator/unix_stream.hpp"

namespace lbcluster::replicator {
namespace {

using Socket = UnixStream::Socket;

class ReplicaChannel : public testing::Test {
  protected:
    ReplicaChannel() {
        Socket own(io_);
        boost::asio::local::connect_pair(own, other_);
        channel_ = std::make_unique<Channel>(io_.get_executor(), std::make_unique<UnixStream>(std::move(own)));
    }

    // Runs until all of it has returned.
    void run(boost::asio::awaitable<void> what) {
        boost::asio::co_spawn(io_, std::move(what), [](std::exception_ptr error) {
            if (error) std::rethrow_exception(error);
        });
        io_.restart();
        io_.run();
    }

    Result<replica::Frame> receive(Duration patience) {
        std::optional<Result<replica::Frame>> got;
        run(receive_into(got, patience));
        return *got;
    }
    boost::asio::awaitable<void> receive_into(std::optional<Result<replica::Frame>>& got, Duration patience) {
        got = co_await channel_->receive(patience);
    }

    Result<void> send(const replica::Frame& frame, Duration patience) {
        Result<void> sent;
        run(send_into(sent, frame, patience));
        return sent;
    }
    boost::asio::awaitable<void> send_into(Result<void>& sent, replica::Frame frame, Duration patience) {
        sent = co_await channel_->send(std::move(frame), patience);
    }

    void other_writes(const std::string& bytes) { boost::asio::write(other_, boost::asio::buffer(bytes)); }

    boost::asio::io_context io_{1};
    Socket other_{io_};
    std::unique_ptr<Channel> channel_;
};

replica::Frame hello() {
    replica::Frame frame;
    frame.mutable_hello()->set_node("lb1");
    return frame;
}

TEST_F(ReplicaChannel, CarriesFramesOneAfterTheOther) {
    other_writes(*encode_frame(hello()) + *encode_frame(hello()));
    for (int i = 0; i < 2; ++i) {
        const auto frame = receive(5s);
        ASSERT_TRUE(frame);
        EXPECT_EQ(frame->hello().node(), "lb1");
    }
    ASSERT_TRUE(send(hello(), 5s));
    std::string bytes(encode_frame(hello())->size(), '\0');
    boost::asio::read(other_, boost::asio::buffer(bytes));
    EXPECT_EQ(bytes, *encode_frame(hello()));
}

TEST_F(ReplicaChannel, SilenceEndsAtTheDeadline) {
    const auto frame = receive(20ms);
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, ETIMEDOUT);
    EXPECT_FALSE(receive(5s)) << "nobody knows where the next frame would begin";
}

TEST_F(ReplicaChannel, AFrameThatNeverEndsEndsAtTheDeadline) {
    other_writes(encode_frame(hello())->substr(0, 6));
    const auto frame = receive(20ms);
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, ETIMEDOUT);
}

TEST_F(ReplicaChannel, AReaderThatDoesNotReadEndsTheWriterAtTheDeadline) {
    replica::Frame large;
    large.mutable_piece()->set_data(std::string(8 * 1024 * 1024, 'x'));
    const auto sent = send(large, 20ms);
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, ETIMEDOUT);
}

TEST_F(ReplicaChannel, AnEndInTheMiddleOfAFrameIsTold) {
    other_writes(encode_frame(hello())->substr(0, 6));
    other_.close();
    const auto frame = receive(5s);
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, EPIPE);
    EXPECT_NE(frame.error().message.find("middle"), std::string::npos);
}

TEST_F(ReplicaChannel, HostileBytesEndTheStream) {
    other_writes("GET / HTTP/1.1\r\n\r\n");
    const auto frame = receive(5s);
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, EMSGSIZE);
    EXPECT_FALSE(receive(5s));
}

TEST_F(ReplicaChannel, CloseWakesWhoWaits) {
    boost::asio::steady_timer soon(io_, std::chrono::milliseconds(10));
    soon.async_wait([this](const boost::system::error_code&) { channel_->close(); });
    const auto frame = receive(60s);
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, ECANCELED);
}

}  // namespace
}  // namespace lbcluster::replicator
