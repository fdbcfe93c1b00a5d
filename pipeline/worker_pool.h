// Threads that answer requests from a queue, all over one copy of a model's weights.
#pragma once

#include <cstddef>
#include <future>
#include <memory>

#include "engine.h"

namespace reelm::pipeline {

/// Answers the requests it is given in the order they come, one a worker at a time: as many workers
/// as the engine has replicas. Callbacks and observers of a request are called in its worker's
/// thread.
class WorkerPool {
 public:
  /// `engine` outlives the pool and stays where it is. At most `queue_capacity` (1 or more)
  /// requests wait. Throws Error{kOutOfMemory} when there are no threads or memory.
  explicit WorkerPool(Engine& engine, std::size_t queue_capacity = 64);
  /// As close().
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Queues a request that stands alone; waits while the queue is full. The future has the answer,
  /// or throws what Engine::ask throws; a request that was cancelled while it waited costs nothing.
  /// Throws Error: kCancelled (request.cancel while waiting for room), kInvalidArgument (closed).
  std::future<Answer> submit(Request request);
  /// The same for a turn of a conversation. `session` belongs to the pool's engine, outlives the
  /// answer and stays where it is; its next turn is submitted when this one is answered.
  std::future<Answer> submit(Session& session, Request request);

  /// Takes no more requests, and returns when those taken are answered: cancel them to be faster.
  void close() noexcept;

  std::size_t workers() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelm::pipeline
