/** Large cities, roughly: degrees north, degrees east, millions of people. Enough to give a made-up world the shape of the real one. */
export interface City {
  readonly name: string;
  readonly latitude: number;
  readonly longitude: number;
  readonly millions: number;
}

const LIST = `
tokyo 35.7 139.7 37|delhi 28.6 77.2 32|shanghai 31.2 121.5 28|dhaka 23.8 90.4 22|sao-paulo -23.6 -46.6 22|mexico-city 19.4 -99.1 22|cairo 30.0 31.2 21|beijing 39.9 116.4 21
mumbai 19.1 72.9 21|osaka 34.7 135.5 19|chongqing 29.6 106.5 16|karachi 24.9 67.0 17|istanbul 41.0 29.0 16|kinshasa -4.3 15.3 15|lagos 6.5 3.4 15|buenos-aires -34.6 -58.4 15
kolkata 22.6 88.4 15|manila 14.6 121.0 14|tianjin 39.1 117.2 14|guangzhou 23.1 113.3 14|rio -22.9 -43.2 13|lahore 31.5 74.3 13|bangalore 13.0 77.6 13|moscow 55.8 37.6 12
shenzhen 22.5 114.1 12|paris 48.9 2.4 11|bogota 4.7 -74.1 11|jakarta -6.2 106.8 11|chennai 13.1 80.3 11|lima -12.0 -77.0 11|bangkok 13.8 100.5 11|hyderabad 17.4 78.5 10
seoul 37.6 127.0 10|nagoya 35.2 136.9 10|london 51.5 -0.1 9|chengdu 30.6 104.1 9|tehran 35.7 51.4 9|ho-chi-minh 10.8 106.7 9|nanjing 32.1 118.8 9|luanda -8.8 13.2 9
wuhan 30.6 114.3 8|new-york 40.7 -74.0 19|los-angeles 34.1 -118.2 13|chicago 41.9 -87.6 9|hong-kong 22.3 114.2 8|kuala-lumpur 3.1 101.7 8|baghdad 33.3 44.4 7|santiago -33.4 -70.7 7
riyadh 24.7 46.7 7|madrid 40.4 -3.7 7|toronto 43.7 -79.4 6|dallas 32.8 -96.8 7|singapore 1.4 103.8 6|philadelphia 40.0 -75.2 6|johannesburg -26.2 28.0 6|houston 29.8 -95.4 7
barcelona 41.4 2.2 5|khartoum 15.6 32.5 6|sydney -33.9 151.2 5|melbourne -37.8 145.0 5|saint-petersburg 59.9 30.3 5|nairobi -1.3 36.8 5|miami 25.8 -80.2 6|washington 38.9 -77.0 6
atlanta 33.7 -84.4 6|alexandria 31.2 29.9 5|berlin 52.5 13.4 4|ankara 39.9 32.9 5|san-francisco 37.8 -122.4 5|phoenix 33.4 -112.1 5|boston 42.4 -71.1 5|rome 41.9 12.5 4
frankfurt 50.1 8.7 3|milan 45.5 9.2 4|kyiv 50.5 30.5 3|montreal 45.5 -73.6 4|seattle 47.6 -122.3 4|cape-town -33.9 18.4 5|casablanca 33.6 -7.6 4|accra 5.6 -0.2 3
addis-ababa 9.0 38.7 5|dubai 25.2 55.3 3|tel-aviv 32.1 34.8 4|athens 38.0 23.7 3|lisbon 38.7 -9.1 3|warsaw 52.2 21.0 3|vienna 48.2 16.4 2|stockholm 59.3 18.1 2
amsterdam 52.4 4.9 3|dublin 53.3 -6.3 1|denver 39.7 -105.0 3|caracas 10.5 -66.9 3|brasilia -15.8 -47.9 5|recife -8.1 -34.9 4|perth -31.9 115.9 2|auckland -36.8 174.8 2
taipei 25.0 121.6 7|hanoi 21.0 105.8 5|yangon 16.8 96.2 5|colombo 6.9 79.9 2|almaty 43.2 76.9 2|tashkent 41.3 69.2 3|dakar 14.7 -17.4 3|tunis 36.8 10.2 2`;

export const CITIES: readonly City[] = LIST.trim().split(/[|\n]/).map((entry) => {
  const [name = '', latitude, longitude, millions] = entry.trim().split(' ');
  return { name, latitude: Number(latitude), longitude: Number(longitude), millions: Number(millions) };
});
