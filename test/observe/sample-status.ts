/** A report in which every field has something to say. */
import type { StatusReport } from '../../src/observe/status.ts';

export const sampleStatus: StatusReport = {
  version: '1.2.3',
  uptimeSeconds: 90,
  notReady: ['subscription "orders": partition 3 held, unroutable: NO_ROUTE'],
  sources: {
    shop: {
      state: 'held',
      member: 'db1:27017',
      position: '1795327615:2',
      lagSeconds: 4,
      majorityLagSeconds: 0.5,
      windowSeconds: 86_400,
      headroomSeconds: 86_000,
      checkpointLagSeconds: 6,
      inFlightBytes: 67_108_864,
      heldBy: ['orders'],
    },
    fresh: {
      state: 'connecting',
      member: null,
      position: null,
      lagSeconds: null,
      majorityLagSeconds: null,
      windowSeconds: null,
      headroomSeconds: null,
      checkpointLagSeconds: null,
      inFlightBytes: 0,
      heldBy: [],
    },
  },
  subscriptions: {
    orders: {
      source: 'shop',
      state: 'held',
      detached: true,
      watermark: '1795327609:1:0',
      lagSeconds: 6,
      headroomSeconds: 86_000,
      parked: 2,
      lanes: [
        { partition: 0, queued: 0, unconfirmed: 7 },
        {
          partition: 3,
          queued: 40,
          unconfirmed: 5,
          held: { reason: 'unroutable', detail: 'NO_ROUTE', forSeconds: 12 },
        },
      ],
    },
    audit: {
      source: 'shop',
      state: 'flowing',
      detached: false,
      watermark: null,
      lagSeconds: null,
      headroomSeconds: null,
      parked: 0,
      lanes: [{ partition: 0, queued: 0, unconfirmed: 0 }],
    },
  },
  sinks: { rabbit: { state: 'connected', blocked: 'low on memory' }, spare: { state: 'connecting', blocked: null } },
  workers: { threads: 3 },
  parking: { bytes: 2048, maxBytes: 1_073_741_824 },
  gaps: [
    { source: 'shop', from: '1:1', to: '2:1', reason: 'truncated', at: '2026-11-22T06:06:55.756Z' },
    { source: 'shop', from: '5:1', to: '6:1', reason: 'truncated', at: '2026-11-23T06:06:55.756Z' },
  ],
};
