export * from './perigee/index.js';
