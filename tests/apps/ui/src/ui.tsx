import { useState } from "react";
import { useStreamContext } from "@langchain/langgraph-sdk/react-ui";
// @ts-ignore: the page offers it
import { fine } from "weather-words";
import "./ui.css";

function Weather(props: { city: string }) {
  const [count, setCount] = useState(1);
  const { meta } = useStreamContext<any, { MetaType: { from: string } }>();
  return (
    <p className="weather" onClick={() => setCount(count + 1)}>
      {fine(props.city)} {count} {meta?.from}
    </p>
  );
}

export default { weather: Weather, "it's <odd>": () => <p>odd</p> };
