// What forwarderd says, as a part of this node's fitness (HA-4; heartbeat-protocol.md: "local forwarder able to
// serve").
#include "heartbeat/forwarder_watch.hpp"

#include "tests/unit/bus/bus_fixture.hpp"

namespace lbcluster::heartbeat {
namespace {

class ForwarderWatchTest : public bus::BusTest {
  protected:
    void forwarder_says(unsigned failed) {
        if (!server_) start_server();
        bus::Item item;
        item.set_key("forward");
        item.mutable_forward()->set_failed(failed);
        server_->set(item);
    }
    void watch() {
        watch_ = std::make_unique<ForwarderWatch>(io_, path_, [this] { ++changes_; });
        watch_->start();
    }
    void TearDown() override {
        watch_.reset();
        BusTest::TearDown();
    }

    std::unique_ptr<ForwarderWatch> watch_;
    int changes_ = 0;
};

TEST_F(ForwarderWatchTest, OneThatStartsAMomentLaterIsNotUnable) {
    watch();
    EXPECT_EQ(watch_->able(), std::nullopt);
    EXPECT_FALSE(watch_->known());
    EXPECT_FALSE(watch_->heard());
    forwarder_says(0);
    EXPECT_TRUE(run_until([&] { return watch_->able() == true; }));
    EXPECT_TRUE(watch_->known() && watch_->heard());
}

TEST_F(ForwarderWatchTest, WhatHasNotSpokenYetIsNotKnown) {
    start_server();
    watch();
    EXPECT_EQ(watch_->able(), std::nullopt);
    ASSERT_TRUE(run_until([&] { return watch_->heard(); }));
    EXPECT_EQ(watch_->able(), std::nullopt) << "listens, and has said nothing";
}

TEST_F(ForwarderWatchTest, FollowsWhatItSays) {
    forwarder_says(0);
    watch();
    ASSERT_TRUE(run_until([&] { return watch_->able() == true; }));
    const int before = changes_;
    forwarder_says(1);
    EXPECT_TRUE(run_until([&] { return watch_->able() == false; }));
    EXPECT_GT(changes_, before);
    forwarder_says(0);
    EXPECT_TRUE(run_until([&] { return watch_->able() == true; }));
}

TEST_F(ForwarderWatchTest, OneThatIsGoneIsAsAbleAsItLastSaid) {
    for (const unsigned failed : {0U, 1U}) {
        forwarder_says(failed);
        watch();
        ASSERT_TRUE(run_until([&] { return watch_->able().has_value() && watch_->known(); }));
        const int before = changes_;
        server_.reset();
        ASSERT_TRUE(run_until([&] { return !watch_->heard(); }));
        EXPECT_EQ(watch_->able(), failed == 0) << "the kernel goes on";
        EXPECT_GT(changes_, before) << "an alarm depends on it";
        watch_.reset();
    }
}

}  // namespace
}  // namespace lbcluster::heartbeat
